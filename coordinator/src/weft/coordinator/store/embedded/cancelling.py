"""Cancels tasks, and the remembered calls of their handlers, with all that these have called: handlers that do not run cannot do it.

cancel_task ─► CallsByCaller.to_cancel ─► cancel_calls, a portion at a time ─► cancel_task, of each call
"""

from __future__ import annotations

from itertools import islice

from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.embedded.unfinished_task import Cancellation, UnfinishedTask
from weft.coordinator.store.remembered import MOST_CALLS, cancelled_with
from weft.coordinator.store.rules import BACKSTOP_S, State
from weft.coordinator.store.task_ids import format_id


def cancel_task(table: TaskTable, task: UnfinishedTask, reason: str, grace_s: float, now: float) -> None:
    """Cancel an unfinished task: a waiting one ends at once, the owner of a running one is told. Its calls are left to `cancel_calls`."""
    if task.state is not State.RUNNING:
        table.end_cancelled(task, reason, now)
    else:
        cancellation = Cancellation(reason, grace_s, now + grace_s + BACKSTOP_S)
        # May be repeated: the nearer end holds.
        if task.cancel is None or cancellation.end_at < task.cancel.end_at:
            table.request_cancel(task, cancellation)
    table.calls.cancel_those_of(format_id(task.number), grace_s)


def cancel_calls(table: TaskTable, now: float, most: int = MOST_CALLS) -> bool:
    """Cancel remembered calls of cancelled tasks, at most so many. True: there are more."""
    waiting = table.calls.to_cancel
    while waiting and most > 0:
        parent_id, grace_s, calls = waiting[0]
        portion = list(islice(calls, most))
        # A caller without calls costs something, too.
        most -= len(portion) + 1
        if most > 0:
            waiting.popleft()
        for task in portion:
            if not task.state.terminal:
                cancel_task(table, task, cancelled_with(parent_id), grace_s, now)
    return bool(waiting)
