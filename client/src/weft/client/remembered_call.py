"""A remembered call of a handler: made again when no answer of its task came, since the same task answers it.

Without this, the handler would fail when its coordinator restarts, and with it the task.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import grpc
from grpc import aio

from weft.client.api import backoff_s
from weft.rpc.errors import DOMAIN, error_info, reason_name, status_of_call
from weft.v1 import errors_pb2

_REASONS = frozenset(
    map(reason_name, (errors_pb2.ERROR_REASON_STOPPING, errors_pb2.ERROR_REASON_STORE_UNAVAILABLE))
)
# A task's answer has this trailer.
_TASK = "weft-task-id"


class RememberedCall(aio.UnaryUnaryCall[Any, Any]):
    """A call with the interface of grpc.aio's, over as many calls as it takes. Large because it has the whole interface of `aio.Call`.

    Args:
        make: makes the call, with so much time.
        timeout_s: for all of them together. None: no limit.
        wait: waits for the future that it is given; may end the handler instead, which then runs again.
    """

    def __init__(
        self,
        make: Callable[[float | None], Any],
        timeout_s: float | None,
        wait: Callable[[asyncio.Future[None]], Awaitable[None]],
    ) -> None:
        self._make = make
        self._wait = wait
        self._ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        self._inner = make(timeout_s)
        self._settled = asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        """Wait until a call has ended with an answer."""
        failures = 0
        while await self._unanswered():
            failures += 1
            wait_s = backoff_s(failures, random.random(), None)  # noqa: S311
            left_s = self.time_left_s()
            if left_s is not None and left_s <= wait_s:
                return
            await asyncio.sleep(wait_s)
            self._inner = self._make(self.time_left_s())

    async def _unanswered(self) -> bool:
        inner = self._inner
        if await inner.code() is not grpc.StatusCode.UNAVAILABLE:
            return False
        trailers = await inner.trailing_metadata()
        if any(key == _TASK for key, _ in trailers or ()):
            return False
        error = aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE, aio.Metadata(), trailers or aio.Metadata(), await inner.details()
        )
        status = status_of_call(error)
        info = error_info(status)
        # Without details, it is gRPC's own: the connection was lost, or there is none.
        return not status.details or (info is not None and info.domain == DOMAIN and info.reason in _REASONS)

    def time_left_s(self) -> float | None:
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    def __await__(self) -> Generator[Any, None, Any]:
        yield from self._end().__await__()
        try:
            return (yield from self._inner.__await__())
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _end(self) -> Any:
        try:
            await self._wait(self._settled)
            if not self._settled.cancelled():
                self._settled.result()
        except BaseException:
            # Cancelled; or the handler ends, and its task goes on with this one's answer.
            self.cancel()
            raise
        return self._inner

    # -- grpc.aio's interface -----------------------------------------------------------------------------------

    def cancelled(self) -> bool:
        return self._settled.cancelled() or bool(self._inner.cancelled())

    def done(self) -> bool:
        return self._settled.done()

    def time_remaining(self) -> float | None:
        return self.time_left_s()

    def cancel(self) -> bool:
        self._settled.cancel()
        return bool(self._inner.cancel())

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        self._settled.add_done_callback(lambda _: callback(self))

    async def initial_metadata(self) -> Any:
        return await (await self._end()).initial_metadata()

    async def trailing_metadata(self) -> Any:
        return await (await self._end()).trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        if self._settled.cancelled():
            return grpc.StatusCode.CANCELLED
        code: grpc.StatusCode = await (await self._end()).code()
        return code

    async def details(self) -> str:
        details: str = await (await self._end()).details()
        return details

    async def wait_for_connection(self) -> None:
        await self._inner.wait_for_connection()
