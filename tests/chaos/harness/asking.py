"""Asks a mesh whose coordinators come and go: until it answers, and page by page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import grpc
import grpc.aio

from weft.v1 import coordinator_pb2, task_pb2
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub

PATIENCE_S = 30.0
_AGAIN_S = 0.1
_LIST_S = 10.0
_AWAY = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        # The store forgot a call that nobody had answered: it may be asked again.
        grpc.StatusCode.DATA_LOSS,
    }
)

T = TypeVar("T")


class TaskDoor(Protocol):
    """The way to the tasks of a mesh."""

    def api(self) -> CoordinatorServiceStub: ...


def passing(error: grpc.aio.AioRpcError) -> bool:
    """Whether the outcome is unknown, and asking again is right."""
    # grpc.aio says INTERNAL when a connection breaks in the very moment of a write.
    torn = error.code() is grpc.StatusCode.INTERNAL and "from Core" in (error.details() or "")
    return torn or error.code() in _AWAY


async def answered(call: Callable[[], Awaitable[T]]) -> T:
    """The answer, asked for again while a coordinator is away."""
    ends_at = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            if not passing(error) or time.monotonic() > ends_at:
                raise
        await asyncio.sleep(_AGAIN_S)


async def all_tasks(
    door: TaskDoor, where: coordinator_pb2.TaskFilter | None = None
) -> Sequence[task_pb2.Task]:
    """All tasks that pass a filter, in full."""
    found: list[task_pb2.Task] = []
    request = coordinator_pb2.ListTasksRequest(page_size=1000, filter=where, view=task_pb2.TASK_VIEW_FULL)
    while True:
        page = await answered(lambda: door.api().ListTasks(request, timeout=_LIST_S))
        found += page.tasks
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return found
