"""Pipes between an agent and a program in a sandbox, as streams of the running loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

from weft.services.sandboxes.sandbox_provider import CHUNK_BYTES

# How long output may stay open after its program has ended: others may hold it.
_LINGER_S = 0.2


class PipeIn:
    """The agent writes, the sandbox reads `theirs`, which is closed by `given`."""

    def __init__(self) -> None:
        self.theirs, self._mine = os.pipe2(os.O_CLOEXEC)
        # Programs open /dev/stdin again.
        os.fchmod(self.theirs, 0o666)
        self._writer: asyncio.StreamWriter | None = None

    def given(self) -> None:
        """The sandbox has its end."""
        os.close(self.theirs)

    async def open(self) -> Self:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.streams.FlowControlMixin(loop), os.fdopen(self._mine, "wb", buffering=0)
        )
        self._writer = asyncio.StreamWriter(transport, protocol, None, loop)
        return self

    async def write(self, data: bytes) -> None:
        """Waits until there is room. What nobody reads any more is dropped."""
        if self._writer is None or self._writer.is_closing():
            return
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    def close(self) -> None:
        """Its end."""
        if self._writer is not None:
            self._writer.close()

    def abort(self) -> None:
        """Its end; what waits to be read is dropped."""
        if self._writer is not None:
            transport = self._writer.transport
            # asyncio's own fails if it has closed.
            if not transport.is_closing() or transport.get_write_buffer_size():
                transport.abort()


class PipeOut:
    """The sandbox writes `theirs`, the agent reads."""

    def __init__(self) -> None:
        self._mine, self.theirs = os.pipe2(os.O_CLOEXEC)
        os.fchmod(self.theirs, 0o666)
        self._transport: asyncio.ReadTransport | None = None
        self.reader = asyncio.StreamReader(limit=CHUNK_BYTES)

    def given(self) -> None:
        """The sandbox has its end."""
        os.close(self.theirs)

    async def open(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self.reader), os.fdopen(self._mine, "rb", buffering=0)
        )
        return self

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def read_both(
    output: PipeOut, errors: PipeOut, ended: asyncio.Future[int]
) -> AsyncIterator[tuple[bool, bytes]]:
    """What comes from both, until both end, or soon after the program has ended. Reads no more than is taken."""
    pipes = {False: output, True: errors}
    reading = {
        asyncio.ensure_future(pipe.reader.read(CHUNK_BYTES)): as_errors for as_errors, pipe in pipes.items()
    }
    try:
        while reading:
            watched: set[asyncio.Future[Any]] = {*reading}
            if not ended.done():
                watched.add(ended)
            done, _ = await asyncio.wait(
                watched,
                timeout=_LINGER_S if ended.done() else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done:
                return
            for each in [task for task in reading if task.done()]:
                as_errors, data = reading.pop(each), each.result()
                if data:
                    yield as_errors, data
                    again = asyncio.ensure_future(pipes[as_errors].reader.read(CHUNK_BYTES))
                    reading[again] = as_errors
    finally:
        for each in reading:
            each.cancel()


class SocketEnd:
    """One end of a pair of sockets."""

    def __init__(self, close: Callable[[], None]) -> None:
        self._mine, self.theirs = socket.socketpair()
        self._close = close
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> Self:
        """The other end is the sandbox's."""
        self.theirs.close()
        self._reader, self._writer = await asyncio.open_connection(sock=self._mine, limit=CHUNK_BYTES)
        return self

    async def write(self, data: bytes) -> None:
        assert self._writer is not None
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def end_input(self) -> None:
        assert self._writer is not None
        with contextlib.suppress(OSError):
            self._writer.write_eof()

    async def read(self) -> bytes:
        assert self._reader is not None
        with contextlib.suppress(ConnectionError):
            return await self._reader.read(CHUNK_BYTES)
        return b""

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._close()
