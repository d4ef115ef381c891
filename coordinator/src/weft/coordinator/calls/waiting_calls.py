"""Calls that wait for the start of their task: refused if it cannot start in time, and what their waits tell for the next ones.

Work of others than waiting callers is not refused here: a detached task, one of the task API or of a bulk stream is queued up to the bound on
unfinished tasks. Nor is a call that shares a task which exists already, such as a repeat or one that the cache may answer.
"""

from __future__ import annotations

import time

from weft.coordinator.dispatch.queue_forecast import FlowKey, QueueForecast, TooLate
from weft.coordinator.store.base import Store
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import Submission, TaskRecord
from weft.coordinator.store.rules import QueueKey
from weft.rpc import errors, refusals


class WaitingCalls:
    """Feeds and asks the forecast of one mesh."""

    def __init__(self, store: Store, forecast: QueueForecast) -> None:
        self._store = store
        self._forecast = forecast

    async def join(self, submission: Submission, left_s: float | None) -> None:
        """A call is about to wait for its task.

        Args:
            left_s: the time in which it can be answered; None: it has no deadline.

        Raises:
            ResourceExhausted: its task could not start in time.
        """
        queue = QueueKey(submission.method, submission.requirements)
        ahead = self._store.ready_ahead(queue, submission.priority)
        if (not ahead and not self._forecast.flows) or submission.delay_s:
            return
        if submission.schedule_to_start_s is not None:
            left_s = min(submission.schedule_to_start_s, left_s or submission.schedule_to_start_s)
        key = FlowKey(queue, submission.priority, submission.fairness_key)
        late = self._forecast.join(submission.task_id, key, ahead, left_s, time.monotonic())
        if late is not None and not await self._exists(submission):
            self._forecast.refused += 1
            raise _refusal(late, submission.method)

    async def _exists(self, submission: Submission) -> bool:
        if not submission.request_id:
            return False
        where = ListFilter(request_id=submission.request_id)
        return bool((await self._store.list_tasks(where, limit=1)).records)

    def ended(self, record: TaskRecord) -> None:
        """A caller's task has ended."""
        if not self._forecast.places:
            return
        wait_s = run_s = None
        if record.attempt == 1 and record.started_at is not None:
            wait_s = max(0.0, record.started_at - record.ready_at)
            if record.finished_at is not None:
                run_s = max(0.0, record.finished_at - record.started_at)
        self._forecast.ended(record.task_id, wait_s, run_s, time.monotonic())

    def late(self, task_id: str) -> None:
        """The deadline of a call has passed, and its task has not ended."""
        if self._forecast.places:
            self._forecast.late(task_id, time.monotonic())

    def left(self, task_id: str) -> None:
        """A call is over."""
        if self._forecast.places:
            self._forecast.left(task_id)


def _refusal(late: TooLate, method: str) -> errors.ResourceExhausted:
    return refusals.overloaded(
        f"this call could not start in time: {late.ahead} tasks of {method} are ahead of it, which takes about {late.wait_s:.1f} s,"
        f" and it has {late.left_s:.1f} s; retry in {late.retry_after_s:.1f} s, or give it a later deadline or a higher priority",
        metadata={"limit": "queue_wait", "ahead": str(late.ahead)},
        retry_after_s=late.retry_after_s,
    )
