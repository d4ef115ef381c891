"""Connections to processes in a pod: websockets with a channel each for input (0), output (1), errors (2) and the end (3), as v4.channel.k8s.io has them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import aiohttp
import grpc

from weft.services.sandboxes.kubernetes_spec import status_of
from weft.services.sandboxes.sandbox_provider import BoxError

_IN, _ERRORS, _END = 0, 2, 3
_OUTPUTS = (1, 2)
# What others send at once; larger messages are refused by some.
_PIECE_BYTES = 32 << 10
# From the end that is told to the end of the connection: the last output may be behind it.
_REST_S = 5.0
_CLOSE_S = 2.0
# Of a connection to process 1 that is lost: less than process 1 waits.
_AGAIN_S = 45.0
_DATA = (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT)


class PodChannel:
    """A process in a pod."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._end: int | BoxError | None = None

    @property
    def closed(self) -> bool:
        """It is over."""
        return self._socket.closed

    async def write(self, data: bytes) -> None:
        try:
            for begin in range(0, len(data), _PIECE_BYTES):
                await self._socket.send_bytes(bytes([_IN]) + data[begin : begin + _PIECE_BYTES])
        except (OSError, aiohttp.ClientError, RuntimeError) as error:
            raise _lost() from error

    async def read(self) -> tuple[bool, bytes] | None:
        while True:
            try:
                message = await self._socket.receive(None if self._end is None else _REST_S)
            except TimeoutError:
                return None
            if message.type not in _DATA:
                return None
            data = message.data.encode() if isinstance(message.data, str) else message.data
            # Each channel begins with an empty message.
            if len(data) < 2:
                continue
            if data[0] == _END and self._end is None:
                self._end = status_of(data[1:])
            elif data[0] in _OUTPUTS:
                return data[0] == _ERRORS, data[1:]

    async def status(self) -> int:
        if self._end is None:
            raise _lost()
        if isinstance(self._end, BoxError):
            raise self._end
        return self._end

    async def close(self) -> None:
        # One that does not say goodbye is left.
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(_CLOSE_S):
                await self._socket.close()


class LastingChannel:
    """The connection to a pod's process 1, made again when it is lost while the pod runs.

    Args:
        attach: makes one. It raises `BoxError` if that cannot be, as of now.
        runs: the pod does.
    """

    def __init__(
        self, attach: Callable[[], Awaitable[PodChannel]], runs: Callable[[], Awaitable[bool]]
    ) -> None:
        self._attach = attach
        self._runs = runs
        self._channel: PodChannel | None = None
        self._closed = False

    async def write(self, data: bytes) -> None:
        if self._channel is None:
            raise _lost()
        await self._channel.write(data)

    async def open(self) -> None:
        """Make it for the first time.

        Raises:
            BoxError: that cannot be.
        """
        self._channel = await self._attach()

    async def read(self) -> tuple[bool, bytes] | None:
        while True:
            told = None if self._channel is None else await self._channel.read()
            if told is not None or not await self._again():
                return told

    async def status(self) -> int:
        return 0

    async def close(self) -> None:
        self._closed = True
        if self._channel is not None:
            await self._channel.close()

    async def _again(self) -> bool:
        loop = asyncio.get_running_loop()
        ends_at_s, pause_s = loop.time() + _AGAIN_S, 0.1
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
        while not self._closed and loop.time() < ends_at_s:
            try:
                if not await self._runs():
                    return False
                self._channel = await self._attach()
                if self._closed:
                    await self._channel.close()
                    return False
                await self._channel.write(b".")
            except BoxError:
                await asyncio.sleep(pause_s)
                pause_s = min(2.0, pause_s * 2)
            else:
                return True
        return False


def _lost() -> BoxError:
    return BoxError(
        grpc.StatusCode.UNAVAILABLE,
        "the connection to the program was lost before its end was told: it has been killed, or its sandbox has ended",
    )
