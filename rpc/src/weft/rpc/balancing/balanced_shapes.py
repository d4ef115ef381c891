"""The balanced calls of the four shapes: one request or many, one response or many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

from grpc import aio

from weft.rpc.balancing.balanced_calls import BalancedCall


class OneResponse(BalancedCall):
    """A call with one response."""

    def __await__(self) -> Generator[Any, None, Any]:
        if self._inner is None:
            yield from self._current().__await__()
        while True:
            inner: Any = self._inner
            try:
                return (yield from inner.__await__())
            except aio.AioRpcError:
                if inner is self._inner:
                    raise
            except asyncio.CancelledError:
                # A retry may have replaced this attempt meanwhile, so the balanced call itself is cancelled.
                self.cancel()
                raise


class ManyResponses(BalancedCall):
    """A call with a stream of responses."""

    _iterator: AsyncIterator[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._iterator is None:
            self._iterator = self._responses()
        return self._iterator

    async def _responses(self) -> AsyncIterator[Any]:
        while True:
            inner = await self._current()
            try:
                async for response in inner:
                    self._seen = True
                    yield response
                return
            except aio.AioRpcError:
                if inner is self._inner:
                    raise

    async def read(self) -> Any:
        while True:
            inner = self._inner or await self._current()
            try:
                response = await inner.read()
            except aio.AioRpcError:
                if inner is self._inner:
                    raise
            else:
                self._seen = True
                return response


class ManyRequests(BalancedCall):
    """A call with a stream of requests. It has one attempt: written requests cannot be sent again."""

    async def write(self, request: Any) -> None:
        await (self._inner or await self._current()).write(request)

    async def done_writing(self) -> None:
        await (self._inner or await self._current()).done_writing()


class UnaryUnaryCall(OneResponse, aio.UnaryUnaryCall[Any, Any]):
    repeatable = True
    timed = True


class UnaryStreamCall(ManyResponses, aio.UnaryStreamCall[Any, Any]):
    repeatable = True


class StreamUnaryCall(ManyRequests, OneResponse, aio.StreamUnaryCall[Any, Any]):
    pass


class StreamStreamCall(ManyRequests, ManyResponses, aio.StreamStreamCall[Any, Any]):
    pass
