"""The policy of one method: what calls of it use, resolved once from its contract and an operator's override. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import Message

from weft.coordinator.policy.key_paths import DeepMessage, Key, Metadata
from weft.coordinator.store.rules import ANY_AGENT, Requirements, TaskRetryPolicy
from weft.coordinator.store.run_limits import RunLimitRule
from weft.rpc.times import seconds
from weft.v1 import options_pb2

TIME_LIMITS = ("schedule_to_start", "start_to_close", "schedule_to_close")


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
    cache_ttl_s: float | None = None
    # "pkg.Service/Method".
    fallback: str = ""
    no_wait: bool | None = None
    check_rules: bool = True


def strictest(*limits: float | None) -> float | None:
    """The least of time limits; None is no limit."""
    return min((limit for limit in limits if limit is not None), default=None)


def layered(under: options_pb2.TaskPolicy, over: options_pb2.TaskPolicy) -> options_pb2.TaskPolicy:
    """Options with a second layer over them: each field that `over` sets is used as a whole."""
    result = options_pb2.TaskPolicy()
    result.CopyFrom(under)
    for descriptor, _ in over.ListFields():
        result.ClearField(descriptor.name)
    result.MergeFrom(over)
    return result


def resolve(
    contract: options_pb2.TaskPolicy | None, override: options_pb2.TaskPolicy | None
) -> options_pb2.TaskPolicy | None:
    """The options in force: the override's before the contract's, field by field; of limits the strictest. None: no options.

    Limits are the time limits, each by itself, and the run limits of each key, each number by itself. What happens at a run
    limit is the override's choice.
    """
    if contract is None or override is None:
        return override if contract is None else contract
    result = layered(contract, override)
    for name in TIME_LIMITS:
        set_by = [p.limits for p in (contract, override) if p.limits.HasField(name)]
        if set_by:
            least = min(set_by, key=lambda limits: seconds(getattr(limits, name)))
            getattr(result.limits, name).CopyFrom(getattr(least, name))
    del result.run_limits[:]
    result.run_limits.extend(tightened(contract.run_limits, override.run_limits))
    return result


def tightened(
    under: Sequence[options_pb2.RunLimit], over: Sequence[options_pb2.RunLimit]
) -> list[options_pb2.RunLimit]:
    """The run limits of two layers: of each key the lower numbers, and the upper layer's action at the limit."""
    by_key = {limit.key: limit for limit in under}
    for limit in over:
        lower = by_key.get(limit.key)
        by_key[limit.key] = limit if lower is None else _tighter(lower, limit)
    return list(by_key.values())


def _tighter(under: options_pb2.RunLimit, over: options_pb2.RunLimit) -> options_pb2.RunLimit:
    rates = [limit for limit in (over, under) if limit.max_rate_per_s]
    slowest = min(rates, key=lambda limit: limit.max_rate_per_s, default=over)
    # A burst of 0 is one second's worth.
    bursts = [limit.burst or max(1, math.floor(limit.max_rate_per_s)) for limit in rates]
    return options_pb2.RunLimit(
        key=over.key,
        max_running=_least(under.max_running, over.max_running),
        max_rate_per_s=slowest.max_rate_per_s,
        burst=slowest.burst if len(rates) < 2 or not any(limit.burst for limit in rates) else min(bursts),
        at_limit=over.at_limit or under.at_limit,
    )


def _least(one: int, other: int) -> int:
    """The lower limit; 0 is none."""
    return min(one, other) if one and other else one or other
