"""What is wrong in a mesh: the rules, one function each. Pure.

They are those findings of `weft doctor` that do not pass by themselves. Thresholds of metrics belong to a metrics backend (docs/how-to/alerts.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from weft.coordinator.store.rules import QueueKey
from weft.rpc.enum_names import enum_name
from weft.v1 import fleet_pb2, lifecycle_pb2, pool_pb2, usage_pb2

Kind = lifecycle_pb2.AlertKind
NO_AGENT, QUEUE_OLD = lifecycle_pb2.ALERT_KIND_NO_AGENT, lifecycle_pb2.ALERT_KIND_QUEUE_OLD
AGENT_FAILING, POOL_FAILING = lifecycle_pb2.ALERT_KIND_AGENT_FAILING, lifecycle_pb2.ALERT_KIND_POOL_FAILING
BUDGET_SPENT = lifecycle_pb2.ALERT_KIND_BUDGET_SPENT

# An alert fires when its condition has held for so long; others at once.
HOLDS_S = {NO_AGENT: 10.0, POOL_FAILING: 10.0}
_MAX_TEXT_CHARS, _MAX_SUBJECT_CHARS = 500, 300
_FAILING = frozenset({pool_pb2.POOL_STATE_FAILING, pool_pb2.POOL_STATE_ENDED})


class WaitingQueue(NamedTuple):
    """A queue with tasks that wait.

    Attributes:
        oldest_s: how long the oldest ready task has waited. 0: none is ready.
        waits_for: why they wait, for people.
    """

    key: QueueKey
    queued: int
    oldest_s: float
    reason: fleet_pb2.WaitReason
    waits_for: str


class Condition(NamedTuple):
    """Something that is wrong now."""

    kind: lifecycle_pb2.AlertKind
    subject: str
    text: str

    @property
    def name(self) -> str:
        return name_of(self.kind, self.subject)


def name_of(kind: lifecycle_pb2.AlertKind, subject: str) -> str:
    """What tells an alert from all others: the key of its events."""
    return f"{enum_name(Kind, kind, 'ALERT_KIND_')} {subject}"


def of_queues(queues: Iterable[WaitingQueue], old_s: float) -> Iterator[Condition]:
    """Queues whose tasks nobody takes, or not for long.

    Args:
        old_s: a ready task that has waited for longer is old.
    """
    for queue in queues:
        required = str(queue.key.requirements)
        subject = f"{queue.key.method} [{required}]" if required else queue.key.method
        subject = subject[:_MAX_SUBJECT_CHARS]
        if queue.reason == fleet_pb2.WAIT_REASON_NO_AGENT:
            tasks = "1 task waits" if queue.queued == 1 else f"{queue.queued} tasks wait"
            text = f"{tasks} for {queue.waits_for}"
            yield Condition(NO_AGENT, subject, text[:_MAX_TEXT_CHARS])
        elif queue.oldest_s > old_s:
            text = f"the oldest of {queue.queued} tasks has waited for {queue.oldest_s:.0f} s, for {queue.waits_for}"
            yield Condition(QUEUE_OLD, subject, text[:_MAX_TEXT_CHARS])


def of_agents(agents: Iterable[fleet_pb2.Agent]) -> Iterator[Condition]:
    """Agents that are kept from tasks because their attempts fail."""
    for agent in agents:
        if agent.failing:
            count = agent.ejection.failures
            why = f", {count} in a row" if count else ""
            yield Condition(AGENT_FAILING, agent.id, f"its attempts keep failing{why}: others get its tasks")


def of_pools(pools: Iterable[pool_pb2.Pool]) -> Iterator[Condition]:
    """Pools that do not get to where they should be."""
    for pool in pools:
        if pool.state in _FAILING or (pool.state == pool_pb2.POOL_STATE_CHANGING and pool.problem):
            text = f"{pool.ready_count} of {pool.wanted} members are ready: {pool.problem}"
            yield Condition(POOL_FAILING, pool.name, text[:_MAX_TEXT_CHARS])


def of_budgets(budgets: Iterable[usage_pb2.Budget]) -> Iterator[Condition]:
    """Budgets that are spent."""
    for budget in budgets:
        if budget.spent >= budget.amount:
            text = f"{budget.spent:g} of {budget.amount:g} {budget.unit} are used"
            yield Condition(BUDGET_SPENT, budget.name, text)
