"""The records of tasks that leave their queue for another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from weft.coordinator.store.rules import ANY_AGENT, Requirements


class ReadyTask(NamedTuple):
    """A ready task of a queue; since when it is ready, and its context."""

    task_id: str
    ready_at: float
    context: bytes


class ReadyTasks(NamedTuple):
    """Some ready tasks of a queue, and the place to go on at; None: that was its end."""

    tasks: Sequence[ReadyTask]
    next_at: int | None


class Redirected(NamedTuple):
    """What a ready task is to become: a task with other requirements; or, with an `outcome` (a serialized weft.v1.Outcome), FAILED."""

    task_id: str
    requirements: Requirements = ANY_AGENT
    outcome: bytes = b""


class LeftQueue(NamedTuple):
    """How many tasks have left a queue for their next alternatives, and the place to go on at; None: that was its end."""

    moved: int
    next_at: int | None
