"""Deferred writes: tasks that only this coordinator knows yet. A short call costs Redis one script instead of three.

    unacknowledged ─► waits ─► claimed by an agent here ─► succeeded: stored with its end
                       └──────────────┴─ after a moment (`linger`), or before any other request: stored as it is

A caller that waits for such a task hears only of its end, which is in Redis by then, as in decision 0008 for the embedded
store. If the coordinator dies before that, the task is lost, and its caller gets UNAVAILABLE. Pure: time is an argument.
`WriteBuffer` stores the tasks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weft.coordinator.store.linger import is_due
from weft.coordinator.store.records import AttemptReport, Claimed, ClaimRequest, Owner, Submission
from weft.coordinator.store.rules import QueueKey, attempt_deadline

# Bounds of deferred tasks. More tasks are no lone calls, and scripts store batches well.
_TASKS = 256
_BODY_BYTES = 64 * 1024
_FIRST_ATTEMPT = 1


@dataclass(slots=True)
class DeferredTask:
    """A task that is not in Redis yet."""

    task_id: str
    submission: Submission
    created_at: float
    # By the monotonic clock.
    accepted_at_s: float
    owner: Owner | None = None
    started_at: float = 0.0

    @property
    def key(self) -> QueueKey:
        return QueueKey(self.submission.method, self.submission.requirements)

    @property
    def close_at(self) -> float | None:
        close_s = self.submission.schedule_to_close_s
        return None if close_s is None else self.created_at + close_s

    def claimed(self, owner: Owner, cost: int, now: float) -> Claimed:
        """Start its first attempt."""
        self.owner, self.started_at = owner, now
        submission = self.submission
        return Claimed(
            self.task_id,
            _FIRST_ATTEMPT,
            owner,
            submission.method,
            submission.payload,
            submission.context,
            submission.request_id,
            submission.priority,
            cost,
            attempt_deadline(now, submission.start_to_close_s, self.close_at),
            ready_at=self.created_at,
        )


class DeferredTasks:
    """The deferred tasks of one coordinator, oldest first."""

    def __init__(self) -> None:
        self._tasks: dict[str, DeferredTask] = {}
        # Unclaimed tasks by queue.
        self.depths: dict[QueueKey, int] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def take(self, task_id: str, submission: Submission, now: float, accepted_at_s: float) -> bool:
        """Defer a task. False if the task does not qualify.

        Only Redis knows whether a gate has room, and whose turn it is: a task with a lock, a key or consumed resources is
        never deferred, so that no gate is overrun and no turn is taken here. Only Redis knows whether a group is closed. Nor is a task whose method has run limits, as
        far as this coordinator knows (`RedisLink.limited`). An attempt that starts here before it hears of a new limit counts
        there as one that ran when the limit was set.
        """
        if (
            submission.request_id
            or submission.delay_s
            or submission.fairness_key
            or submission.locks
            or submission.limit_keys
            or submission.requirements.consumes
            or submission.group
            or len(self._tasks) >= _TASKS
            or len(submission.payload) + len(submission.context) > _BODY_BYTES
        ):
            return False
        task = self._tasks[task_id] = DeferredTask(task_id, submission, now, accepted_at_s)
        self.depths[task.key] = self.depths.get(task.key, 0) + 1
        return True

    def claim(self, request: ClaimRequest, now: float) -> list[Claimed]:
        """Start attempts: the best (priority, age) first."""
        fit = [
            task
            for task in self._tasks.values()
            if task.owner is None
            and task.key in request.costs
            and (task.close_at is None or now < task.close_at)
        ]
        fit.sort(key=lambda task: -task.submission.priority)
        slots, claims = request.slots, []
        for task in fit[: request.limit]:
            cost = request.costs[task.key]
            if cost > slots:
                break
            slots -= cost
            self._uncount(task)
            claims.append(task.claimed(request.owner, cost, now))
        return claims

    def succeeded(self, report: AttemptReport) -> DeferredTask | None:
        """Remove and return the task that a report ends with success; None: another task, or no success."""
        task = self._tasks.get(report.task_id)
        if task is None or report.code or report.crashed or report.attempt != _FIRST_ATTEMPT:
            return None
        return self._tasks.pop(report.task_id) if task.owner == report.owner else None

    def pop(self, task_ids: Iterable[str] | None = None) -> list[DeferredTask]:
        """Remove and return some tasks, or all."""
        ids = list(self._tasks) if task_ids is None else [each for each in task_ids if each in self._tasks]
        found = [self._tasks.pop(task_id) for task_id in dict.fromkeys(ids)]
        for task in found:
            if task.owner is None:
                self._uncount(task)
        return found

    def pop_due(self, now_s: float) -> list[DeferredTask]:
        """Remove and return the tasks that have waited long enough, by the monotonic clock."""
        return self.pop(
            task.task_id for task in list(self._tasks.values()) if is_due(task.accepted_at_s, now_s)
        )

    @property
    def oldest_at_s(self) -> float | None:
        """When the oldest of these tasks was accepted, by the monotonic clock."""
        return next((task.accepted_at_s for task in self._tasks.values()), None)

    def _uncount(self, task: DeferredTask) -> None:
        self.depths[task.key] -= 1
        if not self.depths[task.key]:
            del self.depths[task.key]
