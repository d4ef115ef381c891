"""Run limits of unfinished tasks, applied to a submission: refuse it, cancel it, or cancel the oldest tasks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from weft.coordinator.store.embedded.cancelling import cancel_calls, cancel_task
from weft.coordinator.store.embedded.gate import LimitGate
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.embedded.unfinished_task import UnfinishedTask
from weft.coordinator.store.records import AtLimit, Submission
from weft.coordinator.store.run_limits import LimitAction, RunLimitRule, limit_gates


@dataclass(frozen=True, slots=True)
class Cancels:
    """What happens when a submission is stored."""

    # The reason, if the new task is cancelled.
    newest: str
    # Numbers of the tasks that are cancelled, the reason, and how long they may take to end.
    oldest: tuple[tuple[int, str, float], ...]


def decide(table: TaskTable, submission: Submission, now: float) -> AtLimit | Cancels | None:
    """What the limits of unfinished tasks say to a submission. None: nothing; changes nothing."""
    full = [
        (gate, rule)
        for key, rule in limit_gates(
            table.gates.rules.get(submission.method, {}),
            submission.method,
            submission.fairness_key,
            submission.limit_keys,
        )
        if rule.counts_unfinished
        and len((gate := table.gates.limit(key, rule, now)).members) >= rule.max_running
    ]
    if not full:
        return None
    for gate, rule in full:
        if rule.at_limit is LimitAction.REFUSE:
            return AtLimit(gate.key, rule.max_running)
    for gate, rule in full:
        if rule.at_limit is LimitAction.CANCEL_NEWEST:
            return Cancels(_reason(gate, rule), ())
    oldest = {
        number: (_reason(gate, rule), rule.grace_s)
        for gate, rule in full
        for number in islice(gate.members, len(gate.members) + 1 - rule.max_running)
    }
    return Cancels("", tuple((number, *why) for number, why in oldest.items()))


def apply(table: TaskTable, task: UnfinishedTask, cancels: Cancels, now: float) -> None:
    """Cancel what is to be cancelled. `task`: the new one, stored."""
    if cancels.newest:
        table.end_cancelled(task, cancels.newest, now)
    for number, reason, grace_s in cancels.oldest:
        cancel_task(table, table.tasks[number], reason, grace_s, now)
    if cancel_calls(table, now):
        table.listener.due(now)


def _reason(gate: LimitGate, rule: RunLimitRule) -> str:
    which = "newest" if rule.at_limit is LimitAction.CANCEL_NEWEST else "oldest"
    return f"the {gate.key} allows {rule.max_running} unfinished tasks, and cancels the {which} one beyond"
