"""Tasks whose handlers only wait: their attempts end, and signals queue them again before their time. In memory."""

from __future__ import annotations

from weft.coordinator.store import history
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.embedded.unfinished_task import UnfinishedTask
from weft.coordinator.store.records import AttemptReport, Verdict
from weft.coordinator.store.remembered import name_of
from weft.coordinator.store.rules import State
from weft.coordinator.store.task_figures import TaskEvent


def suspend(table: TaskTable, task: UnfinishedTask, report: AttemptReport, now: float) -> Verdict:
    """End an attempt whose handler only waits, as its owner reports it."""
    until = report.suspension
    assert until is not None
    task.spec.queue.counts[TaskEvent.ATTEMPT_RELEASED] += 1
    if task.cancel is not None:
        table.end_cancelled(task, task.cancel.reason, now)
        return Verdict.STORED
    task.record_attempt(now, history.trimmed(report.code, report.outcome))
    signals = 0 if task.steps is None else task.steps.signals
    table.retry(task, until.ready_at(signals, now), now, elsewhere=False)
    return Verdict.RETRYING


def waits_for_signals(task: UnfinishedTask, signals: int) -> bool:
    """Whether a task waits until it has more signals than these, less one."""
    until = history.suspension(task.history[-1]) if task.history else None
    # Nothing waits for a signal whose last attempt ended otherwise.
    return until is not None and until.HasField("signals") and signals > until.signals


def wake_for_call(table: TaskTable, task: UnfinishedTask, request_id: str, now: float) -> None:
    """Queue a task whose remembered call has ended, if it waits for that."""
    until = history.suspension(task.history[-1]) if task.history else None
    if task.state is State.SCHEDULED and until is not None and name_of(request_id) in until.calls:
        task.ready_at = now
        table.promote(task)


def wake(table: TaskTable, task: UnfinishedTask, signals: int, now: float) -> None:
    """Queue a task that has got a signal, if it waits for one. Not journaled: `recovery` finds the reason again."""
    if task.state is State.SCHEDULED and waits_for_signals(task, signals):
        task.ready_at = now
        table.promote(task)
