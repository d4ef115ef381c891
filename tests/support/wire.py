"""A wire between two processes that a test can cut and mend: a TCP relay of its own loop's making.

    async with Wire(mesh.target) as wire:
        await mesh.agent("a1", target=wire.address)
        wire.cut()      # silence in both directions: nothing is refused, nothing arrives
        wire.mend()     # what was under way arrives late, as after a partition

A cut wire still takes connections, as a network does that loses packets: nobody answers on them.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

_READ_BYTES = 64 * 1024


class Wire:
    """Relays connections to `target` while it is whole."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._far = (host, int(port))
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()
        self.address = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)
        try:
            await self._whole.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._far)
            await asyncio.gather(self._relay(reader, far_writer), self._relay(far_reader, writer))
        except OSError:
            # One end is gone; the other hears of it below.
            pass
        finally:
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_READ_BYTES):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()
            await self._whole.wait()
        finally:
            writer.transport.abort()
