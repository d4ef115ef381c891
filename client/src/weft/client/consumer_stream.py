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
        self._writer = asyncio.get_running_loop().create_task(self._write(first), name="acknowledgements")

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
        """An event was dealt with."""
        self._acknowledged.append(sequence)
        self._news.set()

    async def close(self) -> None:
        """Send what is to be acknowledged, and end the stream. Bounded in time."""
        try:
            if not self._call.done() and not self._writer.done():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_S):
                        while self._acknowledged and not self._writer.done():
                            self._news.set()
                            await asyncio.sleep(PACE_S)
        finally:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            self._call.cancel()

    async def _write(self, first: pb.ConsumeEventsRequest) -> None:
        # The reader has the status of a stream that has ended.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await self._call.write(first)
            while True:
                await self._news.wait()
                await asyncio.sleep(PACE_S)
                self._news.clear()
                while some := self._acknowledged[:MOST]:
                    await self._call.write(pb.ConsumeEventsRequest(acknowledged=some))
                    del self._acknowledged[: len(some)]
