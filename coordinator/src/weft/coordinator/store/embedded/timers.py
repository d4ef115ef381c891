"""Due times: one heap for all tasks. Stale items are dropped when they surface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush

from weft.coordinator.store.embedded.unfinished_task import NEVER, UnfinishedTask


class Timers:
    """Due times of unfinished tasks.

    A task has at most one valid item: the one at its `due_at`. If the due time moves later, the item stays; when it surfaces,
    a new one is added.
    """

    def __init__(self, tasks: Mapping[int, UnfinishedTask]) -> None:
        self._tasks = tasks
        self._heap: list[tuple[float, int]] = []
        self._armed = 0

    def arm(self, task: UnfinishedTask) -> None:
        """Make sure that the task surfaces when it is due next."""
        due_at = task.next_due_at()
        if due_at < task.due_at:
            if task.due_at == NEVER:
                self._armed += 1
            task.due_at = due_at
            heappush(self._heap, (due_at, task.number))
            self._tidy()

    def disarm(self, task: UnfinishedTask) -> None:
        """Drop the timer of a task that has ended."""
        if task.due_at != NEVER:
            task.due_at = NEVER
            self._armed -= 1

    def due(self, now: float, limit: int) -> Iterator[UnfinishedTask]:
        """At most `limit` due tasks, each disarmed: the caller arms those that are still unfinished."""
        for _ in range(limit):
            task = self._pop(now)
            if task is None:
                return
            yield task

    @property
    def next_at(self) -> float:
        """When to check next; may be too early, never too late."""
        return self._heap[0][0] if self._heap else NEVER

    def _pop(self, now: float) -> UnfinishedTask | None:
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, number = heappop(heap)
            task = self._tasks.get(number)
            if task is None or task.due_at != at:
                continue
            self.disarm(task)
            if task.next_due_at() <= now:
                return task
            self.arm(task)
        return None

    def _tidy(self) -> None:
        """Drop stale items if they are the majority: tasks that end before they are due leave them behind."""
        if len(self._heap) <= 2 * self._armed + 1024:
            return
        tasks = self._tasks
        self._heap = [
            (at, number)
            for at, number in self._heap
            if (task := tasks.get(number)) is not None and task.due_at == at
        ]
        heapify(self._heap)
