"""The task that a thread runs: where Celery's own code puts what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from weft.compat.celery.call_messages import TaskMessage


class TaskRun:
    """One try of a task.

    Args:
        task_id: its id at Celery.
        tell: takes a state of the task's own and its value, as JSON, for those who look.
    """

    def __init__(self, task_id: str, tell: Callable[[str, str], None]) -> None:
        self.id = task_id
        self.tell = tell
        # What the task goes on as, by `retry` or `replace`.
        self.following: TaskMessage | None = None
        # What it returned, as JSON; empty: nothing is kept.
        self.result_json = ""

    def go_on_as(self, message: TaskMessage) -> None:
        """Run the same task again, later or with other arguments, or another in its place."""
        self.following = message

    def __enter__(self) -> Self:
        self._token = _running.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _running.reset(self._token)


_running: ContextVar[TaskRun | None] = ContextVar("weft_celery_task", default=None)


def running() -> TaskRun | None:
    """The task that runs here; None: none."""
    return _running.get()
