"""Waiting for many tasks at once: ended tasks come at once, the others as they end, batched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from weft.coordinator import codec
from weft.coordinator.calls.ended_tasks import EndedTasks
from weft.coordinator.calls.task_subscriptions import TaskSubscriptions
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import TaskRecord
from weft.rpc.calls.pacing import Pacer
from weft.v1 import coordinator_pb2

# Tasks that are read at a time; their outcomes may be large.
READ_TASKS = 64

Response = coordinator_pb2.WaitTasksResponse


async def wait_tasks(
    store: Store,
    subscriptions: TaskSubscriptions,
    task_ids: Sequence[str],
    timeout_s: float | None,
    view: int,
) -> AsyncIterator[Response]:
    """Responses until every task has been sent or the time is over.

    Raises:
        WeftError: the coordinator is stopping.
    """
    wait = _TaskWait(store, subscriptions, task_ids, view)
    timer = None if timeout_s is None else asyncio.get_running_loop().call_later(timeout_s, wait.time_over)
    wait.subscribe()
    try:
        async for response in wait.responses():
            yield response
    finally:
        if timer is not None:
            timer.cancel()
        wait.unsubscribe()


class _TaskWait:
    """One caller's wait."""

    def __init__(
        self, store: Store, subscriptions: TaskSubscriptions, task_ids: Sequence[str], view: int
    ) -> None:
        self._store = store
        self._subscriptions = subscriptions
        self._task_ids = task_ids
        self._view = view
        # An ordered set: tasks that have not ended.
        self._awaited = dict.fromkeys(task_ids)
        self._ended = EndedTasks(store)
        self._filled = asyncio.Event()
        self._over = False

    def subscribe(self) -> None:
        self._subscriptions.on_close(self._filled.set)
        for task_id in self._awaited:
            self._subscriptions.on_end(task_id, self._end)

    def unsubscribe(self) -> None:
        self._subscriptions.off_close(self._filled.set)
        for task_id in self._task_ids:
            self._subscriptions.off_end(task_id, self._end)

    def time_over(self) -> None:
        self._over = True
        self._filled.set()

    def _end(self, record: TaskRecord) -> None:
        if self._awaited.pop(record.task_id, True) is None:
            self._ended.add(record)
            self._filled.set()

    async def responses(self) -> AsyncIterator[Response]:
        pacer, loop = Pacer(), asyncio.get_running_loop()
        async for response in self._stored():
            yield response
        while self._awaited and not self._over:
            if self._subscriptions.closed is not None:
                raise self._subscriptions.closed
            await self._filled.wait()
            if (wait_s := pacer.wait_s(len(self._awaited) + len(self._ended), loop.time())) > 0.0:
                await asyncio.sleep(wait_s)
            self._filled.clear()
            while self._ended:
                yield await self._next()
                pacer.sent(loop.time())
        while self._ended:
            yield await self._next()

    async def _stored(self) -> AsyncIterator[Response]:
        """The tasks that have ended already, and the ids that the store does not know."""
        ids = list(self._awaited)
        for start in range(0, len(ids), READ_TASKS):
            chunk = ids[start : start + READ_TASKS]
            not_found: list[str] = []
            for task_id, record in zip(chunk, await self._store.get(chunk, payloads=False), strict=True):
                if record is None:
                    # A task that has ended since, and was deleted at once, is known by its end.
                    if self._awaited.pop(task_id, True) is None:
                        not_found.append(task_id)
                elif record.state.terminal:
                    self._end(record)
            if not_found:
                yield Response(not_found=not_found)
            while self._ended:
                yield await self._next()

    async def _next(self) -> Response:
        return Response(tasks=[codec.task(record, self._view) for record in await self._ended.take()])
