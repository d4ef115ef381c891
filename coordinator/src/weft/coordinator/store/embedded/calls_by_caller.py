"""The unfinished remembered calls of tasks, by who has called, and the cancelled tasks whose calls are still to be cancelled. In memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from weft.coordinator.store.embedded.unfinished_task import UnfinishedTask
from weft.coordinator.store.remembered import parent_of


class CallsByCaller:
    """Remembered calls, in the order of their tasks' numbers. Without such calls it holds nothing."""

    def __init__(self) -> None:
        self._of: dict[str, dict[int, UnfinishedTask]] = {}
        # The caller, how long its calls may take to end, and those that are left.
        self.to_cancel: deque[tuple[str, float, Iterator[UnfinishedTask]]] = deque()

    def add(self, task: UnfinishedTask) -> None:
        """An unfinished remembered call."""
        self._of.setdefault(parent_of(task.request_id), {})[task.number] = task

    def drop(self, task: UnfinishedTask) -> None:
        """A remembered call has ended."""
        parent_id = parent_of(task.request_id)
        calls = self._of.get(parent_id)
        if calls is not None and calls.pop(task.number, None) is not None and not calls:
            del self._of[parent_id]

    def cancel_those_of(self, task_id: str, grace_s: float) -> None:
        """A task is cancelled: what it has called so far is to be cancelled, too."""
        calls = self._of.get(task_id)
        if calls:
            self.to_cancel.append((task_id, grace_s, iter(tuple(calls.values()))))
