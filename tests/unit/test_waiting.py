"""Waiting for tasks, where the store forgets between two looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weft.coordinator.calls import wait_tasks
from weft.coordinator.calls.task_subscriptions import TaskSubscriptions
from weft.coordinator.store.records import Submission, TaskRecord
from weft.coordinator.store.rules import State
from weft.v1 import task_pb2


class Forgetful:
    """A store whose only task ends, and is deleted, while it is looked for."""

    def __init__(self, subscriptions: TaskSubscriptions) -> None:
        self._subscriptions = subscriptions

    async def get(self, task_ids: Sequence[str], *, payloads: bool) -> list[TaskRecord | None]:
        self._subscriptions.changed(TaskRecord("ends", State.SUCCEEDED, Submission("a.S/A")))
        return [None for _ in task_ids]


async def test_a_task_that_ends_and_is_deleted_in_between_is_not_also_missing() -> None:
    subscriptions = TaskSubscriptions(10)
    store: Any = Forgetful(subscriptions)
    missing = []
    view = task_pb2.TASK_VIEW_BASIC
    async for response in wait_tasks.wait_tasks(store, subscriptions, ["ends", "unknown"], 5.0, view):
        missing += response.not_found
    assert missing == ["unknown"]
