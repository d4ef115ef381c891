"""A consumer's stream to a coordinator: reads events, and sends acknowledgements, several in one message."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from weft.client.api import Api
from weft.client.methods import Method
from weft.v1 import event_pb2 as pb

# Acknowledgements of this time go together, or so many.
PACE_S = 0.02
MOST = 1000
CLOSE_S = 2.0


class ConsumerStream:
    """One stream."""

    def __init__(
        self,
        api: Api,
        method: Method[pb.ConsumeEventsRequest, pb.ConsumeEventsResponse],
        first: pb.ConsumeEventsRequest,
    ) -> None:
        self._call: Any = api.open_bidi(method)
        self._acknowledged: list[int] = []
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self._writer = self._loop.create_task(self._write(first), name="acknowledgements")

    async def responses(self) -> AsyncIterator[pb.ConsumeEventsResponse]:
        """What the coordinator sends.

        Raises:
            grpc.aio.AioRpcError: the stream has failed.
        """
        while (response := await self._call.read()) is not grpc.aio.EOF:
            yield response
        code = await self._call.code()
        if code is not grpc.StatusCode.OK:
            raise grpc.aio.AioRpcError(
                code,
                await self._call.initial_metadata(),
                await self._call.trailing_metadata(),
                details=await self._call.details(),
            )

    def acknowledge(self, sequence: int) -> None:
        """An event was dealt with. From any thread; does nothing when the stream has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._note, sequence)

    def _note(self, sequence: int) -> None:
        self._acknowledged.append(sequence)
        self._news.set()

    async def close(self) -> None:
        """Send what is to be acknowledged, and wait until the coordinator has it and ends the stream. Bounded in time."""
        try:
            with contextlib.suppress(TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                async with asyncio.timeout(0 if self._call.done() else CLOSE_S):
                    # Acknowledgements of this moment are noted first.
                    await asyncio.sleep(0)
                    self._closing = True
                    self._news.set()
                    await asyncio.shield(self._writer)
                    while await self._call.read() is not grpc.aio.EOF:
                        pass
        finally:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            self._call.cancel()

    async def _write(self, first: pb.ConsumeEventsRequest) -> None:
        # The reader has the status of a stream that has ended.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.write(first)
            while not self._closing:
                await self._news.wait()
                if not self._closing:
                    await asyncio.sleep(PACE_S)
                self._news.clear()
                while some := self._acknowledged[:MOST]:
                    await self._call.write(pb.ConsumeEventsRequest(acknowledged=some))
                    del self._acknowledged[: len(some)]
            await self._call.done_writing()
