"""The policy of one method: what calls of it use, resolved once from its contract and an operator's override. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import Message

from weft.coordinator.store.rules import ANY_AGENT, Requirements, TaskRetryPolicy
from weft.coordinator.store.run_limits import RunLimitRule
from weft.rpc.task_policy.key_paths import DeepMessage, Key, Metadata
from weft.v1 import options_pb2


class RunLimitOption(NamedTuple):
    """A run limit of a method.

    `expression` names it: "" is the whole method, "fairness_key" each value of the fairness key. Those two have no `key`.
    """

    expression: str
    key: Key | None
    rule: RunLimitRule


class LockOption(NamedTuple):
    """A lock of a method. With a key, its value is appended to the name, after a colon."""

    name: str
    key: Key | None
    shared: bool
    state: bool = False

    def of(self, request: Message | DeepMessage, metadata: Metadata) -> str:
        """The lock's name for one call."""
        return self.name if self.key is None else f"{self.name}:{self.key.value(request, metadata)}"


@dataclass(frozen=True, slots=True)
class MethodPolicy:
    """What contract and override say about calls of one method. None, 0 or empty: they say nothing.

    Calls use nothing else of the options: it is made again only when a contract or an override changes.
    """

    # "pkg.Service/Method".
    method: str
    # The options that this was made from, for people.
    options: options_pb2.TaskPolicy = field(repr=False)
    retry: TaskRetryPolicy | None = None
    schedule_to_start_s: float | None = None
    start_to_close_s: float | None = None
    schedule_to_close_s: float | None = None
    priority: int | None = None
    slot_cost: int = 0
    result_ttl_s: float | None = None
    failure_ttl_s: float | None = None
    # With what a task consumes.
    requirements: Requirements = ANY_AGENT
    # A call without a mode is direct.
    direct: bool = False
    idempotency_key: Key | None = None
    fairness_key: Key | None = None
    run_limits: tuple[RunLimitOption, ...] = ()
    locks: tuple[LockOption, ...] = ()
    # How long a result answers equal requests; 0: not at all.
    cache_ttl_s: float = 0.0
    # "pkg.Service/Method".
    fallback: str = ""
    no_wait: bool | None = None
    check_rules: bool = True
    # The filter of the events that become its tasks; None: none do.
    on_event: str | None = None
    # The calls of its handler are remembered.
    durable_children: bool = False
    # The budget of each of its tasks, by unit.
    budget: tuple[tuple[str, float], ...] = ()


def strictest(*limits: float | None) -> float | None:
    """The least of time limits; None is no limit."""
    return min((limit for limit in limits if limit is not None), default=None)
