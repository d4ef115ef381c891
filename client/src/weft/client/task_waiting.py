"""Waits for tasks to end, across lost streams and restarts of the coordinator.

`ended` is one wait. With `Waiter`, waits that begin together share one stream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import grpc.aio

from weft.client.api import WAIT_TASKS, Api, Patience
from weft.client.task_snapshot import Task
from weft.rpc import refusals
from weft.rpc.errors import WeftError
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, task_pb2

# The coordinator's limit for one call.
_MOST_IDS = 100_000
# A call's own deadline is this much later than the wait's, so that the coordinator ends the call.
_SLACK_S = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """A part of a wait's result: tasks that have ended, and ids that no task has."""

    tasks: Sequence[Task]
    unknown: Sequence[str]


async def ended(
    api: Api, task_ids: Iterable[str], *, timeout_s: float | None, patience_s: float
) -> AsyncGenerator[Ended]:
    """Give tasks as they end, until all have ended or the time is up.

    Raises:
        Unreachable: the coordinator was away for longer than `patience_s`.
    """
    open_ids = dict.fromkeys(task_ids)
    patience = Patience(api, patience_s)
    ends_at = None if timeout_s is None else time.monotonic() + timeout_s
    while open_ids:
        left_s = None if ends_at is None else max(0.0, ends_at - time.monotonic())
        request = coordinator_pb2.WaitTasksRequest(
            task_ids=islice(open_ids, _MOST_IDS),
            timeout=None if left_s is None else duration(left_s),
            view=task_pb2.TASK_VIEW_FULL,
        )
        call = api.open(WAIT_TASKS, request, timeout_s=None if left_s is None else left_s + _SLACK_S)
        try:
            async for response in call:
                patience.renew()
                for task_id in (*(task.id for task in response.tasks), *response.not_found):
                    open_ids.pop(task_id, None)
                yield Ended([await api.task(task) for task in response.tasks], response.not_found)
        except asyncio.CancelledError:
            api.home.check_cut_off()
            raise
        except grpc.aio.AioRpcError as error:
            if ends_at is not None and time.monotonic() >= ends_at:
                return
            await patience.wait(error)
        finally:
            call.cancel()
        if ends_at is not None and time.monotonic() >= ends_at:
            return


@dataclass(eq=False, slots=True)
class _Batch:
    """Waits that share a stream."""

    open_ids: set[str] = field(default_factory=set)
    runner: asyncio.Task[None] | None = None


class Waiter:
    """Waits for single tasks; waits that begin in one turn of the event loop share a stream."""

    def __init__(self, api: Api, *, patience_s: float) -> None:
        self._api = api
        self._patience_s = patience_s
        self._futures: dict[str, asyncio.Future[Task]] = {}
        self._waiting: dict[str, int] = {}
        self._batch_of: dict[str, _Batch] = {}
        self._next: _Batch | None = None

    async def wait(self, task_id: str, timeout_s: float | None) -> Task:
        """The task, when it has ended.

        Raises:
            DeadlineExceeded: it has not ended within `timeout_s` (CALL_DEADLINE).
            NotFound: no task has this id.
        """
        self._api.home.check()
        future = self._futures.get(task_id)
        if future is None:
            future = self._futures[task_id] = asyncio.get_running_loop().create_future()
            self._enlist(task_id)
        self._waiting[task_id] = self._waiting.get(task_id, 0) + 1
        time_left = asyncio.timeout(timeout_s)
        try:
            async with time_left:
                return await asyncio.shield(future)
        except TimeoutError:
            if not time_left.expired():
                raise
            raise refusals.call_deadline(f"task {task_id} has not ended within {timeout_s:g} s") from None
        finally:
            self._leave(task_id, future)

    async def close(self) -> None:
        """End every wait."""
        runners = {batch.runner for batch in self._batch_of.values() if batch.runner is not None}
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)

    def _enlist(self, task_id: str) -> None:
        if self._next is None:
            self._next = _Batch()
            asyncio.get_running_loop().call_soon(self._start)
        self._next.open_ids.add(task_id)
        self._batch_of[task_id] = self._next

    def _start(self) -> None:
        batch, self._next = self._next, None
        if batch is not None and batch.open_ids:
            batch.runner = asyncio.create_task(self._run(batch))

    async def _run(self, batch: _Batch) -> None:
        try:
            async for some in ended(
                self._api, tuple(batch.open_ids), timeout_s=None, patience_s=self._patience_s
            ):
                for task in some.tasks:
                    self._settle(batch, task.id, task)
                for task_id in some.unknown:
                    self._settle(batch, task_id, refusals.task_not_found(task_id))
        except WeftError as error:
            for task_id in tuple(batch.open_ids):
                self._settle(batch, task_id, error)
        finally:
            closed = self._api.home.closed_error() if self._api.home.closed else None
            for task_id in tuple(batch.open_ids):
                self._settle(batch, task_id, closed)

    def _settle(self, batch: _Batch, task_id: str, outcome: Task | Exception | None) -> None:
        """Answer the waits for a task. With None they are cancelled."""
        batch.open_ids.discard(task_id)
        if self._batch_of.get(task_id) is not batch:
            return
        del self._batch_of[task_id]
        future = self._futures.pop(task_id)
        if future.done():
            return
        if outcome is None:
            future.cancel()
        elif isinstance(outcome, Task):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)

    def _leave(self, task_id: str, future: asyncio.Future[Task]) -> None:
        """End one wait. After the last wait for a task stop waiting for it; after the last task of a stream end the stream."""
        left = self._waiting[task_id] - 1
        if left:
            self._waiting[task_id] = left
            return
        del self._waiting[task_id]
        if future.done() or self._futures.get(task_id) is not future:
            return
        del self._futures[task_id]
        batch = self._batch_of.pop(task_id)
        batch.open_ids.discard(task_id)
        if not batch.open_ids and batch.runner is not None:
            batch.runner.cancel()
