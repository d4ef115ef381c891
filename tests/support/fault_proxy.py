"""A TCP proxy between two processes that a test can cut, silence, slow down and heal.

    async with FaultProxy(mesh.target) as proxy:
        await mesh.agent("a1", target=proxy.address)
        await proxy.cut()           # connections are closed, new ones refused: the process behind is gone
        await proxy.blackhole()     # connections are taken and nothing passes: the network loses packets
        await proxy.slow(0.2)       # everything arrives that much later, in its order
        await proxy.heal()

Each replaces the state before it. What was under way in a black hole arrives late, as after a partition; a cut loses it.
An end that closes its half of a connection closes the whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import TracebackType
from typing import Literal, Self

Direction = Literal["up", "down"]

_READ_BYTES = 64 * 1024
# Most bytes that are held of one connection in one direction. Beyond it, the sender must wait, as at a full window.
_HELD_CHUNKS = 64
_DIAL_S = 5.0


class FaultProxy:
    """Passes connections at `address` on to `target`: "up" is towards the target, "down" comes from it."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._passes = True
        self._delay_s: dict[Direction, float] = {"up": 0.0, "down": 0.0}
        self._changed = asyncio.Event()
        # Bound and never listening: it keeps the port while connections are refused.
        self._holder = _socket(0)
        self.port: int = self._holder.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self.cut()
        self._holder.close()

    @property
    def connections(self) -> int:
        """The number of open connections, including those without a connection to the target."""
        return len(self._links)

    async def cut(self) -> None:
        """Close every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    async def blackhole(self) -> None:
        """Take connections and pass nothing, in either direction."""
        await self._become(passes=False)

    async def slow(self, delay_s: float, direction: Direction | None = None) -> None:
        """Pass everything `delay_s` later, in one direction or (None) in both."""
        await self._become(
            up_s=delay_s if direction != "down" else 0.0, down_s=delay_s if direction != "up" else 0.0
        )

    async def heal(self) -> None:
        """Pass everything at once, what has been held first."""
        await self._become()

    async def _become(self, *, passes: bool = True, up_s: float = 0.0, down_s: float = 0.0) -> None:
        self._passes = passes
        self._delay_s = {"up": up_s, "down": down_s}
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        await self._listen()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, sock=_socket(self.port))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        task.add_done_callback(self._links.discard)
        try:
            await self._until_passed(asyncio.get_running_loop().time(), "up")
            async with asyncio.timeout(_DIAL_S):
                far_reader, far_writer = await asyncio.open_connection(*self._target)
            try:
                await self._relay((reader, writer), (far_reader, far_writer))
            finally:
                _end(far_writer, flush=not task.cancelling())
        except (OSError, TimeoutError):
            # The target is not there: the caller hears of it as of any closed connection.
            pass
        except asyncio.CancelledError:
            # A cut. It ends here: asyncio's streams before 3.12 log the end of a cancelled handler as an error.
            pass
        finally:
            _end(writer, flush=not task.cancelling())

    async def _relay(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Until one end has closed the connection, and the other has all that came before."""
        up: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_HELD_CHUNKS)
        down: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_HELD_CHUNKS)
        deliveries = [
            asyncio.create_task(self._deliver(up, far[1], "up")),
            asyncio.create_task(self._deliver(down, near[1], "down")),
        ]
        readings = [asyncio.create_task(_read(near[0], up)), asyncio.create_task(_read(far[0], down))]
        try:
            await asyncio.wait(deliveries, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*deliveries, *readings):
                task.cancel()
            await asyncio.gather(*deliveries, *readings, return_exceptions=True)

    async def _deliver(
        self, held: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, direction: Direction
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                arrived_s, data = await held.get()
                await self._until_passed(arrived_s, direction)
                if not data:
                    return
                writer.write(data)
                await writer.drain()

    async def _until_passed(self, arrived_s: float, direction: Direction) -> None:
        """Wait as long as what arrived then is held, by the state of now and not of then."""
        while True:
            changed = self._changed
            left_s = arrived_s + self._delay_s[direction] - asyncio.get_running_loop().time()
            if self._passes and left_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s if self._passes else None):
                    await changed.wait()


async def _read(reader: asyncio.StreamReader, held: asyncio.Queue[tuple[float, bytes]]) -> None:
    """Take what comes, with its time; b"" is the end, which is held like the rest."""
    while True:
        try:
            data = await reader.read(_READ_BYTES)
        except OSError:
            data = b""
        await held.put((asyncio.get_running_loop().time(), data))
        if not data:
            return


def _end(writer: asyncio.StreamWriter, *, flush: bool) -> None:
    if flush:
        writer.close()
    else:
        writer.transport.abort()


def _socket(port: int) -> socket.socket:
    """Bound to the port, which one of ours may hold already."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound
