"""One call of a caller with limits: its bytes are counted, requests as they are read and responses as they are written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.message import Message
from grpc import aio

from weft.coordinator.caller_limits.use_meter import UseMeter


def size_of(message: Any) -> int:
    """The bytes of a request or response; 0 for one that does not parse."""
    if isinstance(message, bytes):
        return len(message)
    return message.ByteSize() if isinstance(message, Message) else 0


def take_bytes(meters: Sequence[UseMeter], message: Any) -> None:
    """Count the bytes of a request or response."""
    size, now_s = size_of(message), time.monotonic()
    for meter in meters:
        meter.take_bytes(size, now_s)


async def wait_for_bytes(meters: Sequence[UseMeter]) -> None:
    """Wait until more bytes may come."""
    # Other calls may take the room meanwhile.
    while wait_s := max(meter.bytes_wait_s(time.monotonic()) for meter in meters):  # noqa: ASYNC110
        await asyncio.sleep(wait_s)


async def measured_requests(meters: Sequence[UseMeter], requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """A stream's requests, which are read as the limit has room: gRPC's flow control stops the caller."""
    async for request in requests:
        yield request
        take_bytes(meters, request)
        await wait_for_bytes(meters)


class LimitedContext:
    """A call's context that knows the meters of its caller, and counts the bytes of its messages."""

    def __init__(self, context: Any, meters: Sequence[UseMeter], measuring: Sequence[UseMeter]) -> None:
        self._context = context
        self.use_meters = meters
        self._measuring = measuring

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, message: Any) -> None:
        """Write a response. It counts, and does not wait: a slow stream would seem not to be read."""
        if self._measuring:
            take_bytes(self._measuring, message)
        await self._context.write(message)

    async def read(self) -> Any:
        if self._measuring:
            await wait_for_bytes(self._measuring)
        message = await self._context.read()
        if self._measuring and message is not aio.EOF:
            take_bytes(self._measuring, message)
        return message
