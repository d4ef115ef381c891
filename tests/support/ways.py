"""The ways in which a call of the mirror service can go; each is one small class that starts what it needs.

`STRAIGHT` goes to the servicer and is what the others are compared with. A way names the shapes that it takes, what its
caller adds to the metadata, and where a stock client dials it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import grpc.aio

from tests.support.beside import direct_address, free_address, sidecar
from tests.support.mesh import MeshHarness
from tests.support.mirror import SERVICE
from tests.support.processes import Process, until
from weft.client import connect

AGENT = "tests.support.mirror_agent:agent"
SHAPES = ("Unary", "Down", "Up", "Both")
# More than any test calls at a time.
SLOTS = 128


def python(folder: Path, name: str, *args: str) -> Process:
    """Start `python -m tests.support.NAME FOLDER/NAME.address ...`, which writes there where it serves."""
    words = [str(folder / f"{name}.address"), *args]
    module, log = f"tests.support.{name}", folder / f"{name}.log"
    return Process.module(name, module, *words, log=log, stock=name == "mirror")


class Way:
    """A way, once `open` has started its processes; `close` ends them."""

    # The shapes that it takes.
    shapes: tuple[str, ...] = SHAPES
    # What a caller adds to the metadata.
    asks: tuple[tuple[str, str], ...] = ()
    # Initial metadata comes when it is sent, and not at the end.
    early_headers = True
    # Shapes whose initial metadata a client of grpc.aio sees when it is sent (never Unary's), and those where it comes with the first response.
    early_shapes: tuple[str, ...] = ("Down", "Up", "Both")
    first_shapes: tuple[str, ...] = ("Down", "Both")
    # Each call is made once, whatever comes of it.
    once = True
    # There is a port for any client, and not only a library.
    stock = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ""
        self._processes: list[Process] = []

    async def open(self) -> None:
        """Start what it needs, and wait until it takes calls."""
        raise NotImplementedError

    async def close(self) -> None:
        for process in self._processes:
            process.cleanup()

    def channel(self, *options: tuple[str, int]) -> AbstractAsyncContextManager[grpc.aio.Channel]:
        """A stock channel."""
        return grpc.aio.insecure_channel(self.address, options=options)

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    async def _python(self, name: str, *args: str) -> str:
        """Start a server of tests.support; the address where it serves."""
        address = self.folder / f"{name}.address"
        process = python(self.folder, name, *args)
        self._processes.append(process)
        await until(lambda: address.exists() or not process.alive, f"{name} serves")
        assert process.alive, process.output()
        return address.read_text()


class Straight(Way):
    """To the servicer, with nothing in between."""

    async def open(self) -> None:
        self.address = await self._python("mirror")


class Relayed(Way):
    """By the relay alone, which knows the shapes."""

    async def open(self) -> None:
        self.address = await self._python("relaying", await self._python("mirror"), "--shapes")


class RelayedUnknown(Way):
    """By the relay alone, which knows no shapes."""

    async def open(self) -> None:
        self.address = await self._python("relaying", await self._python("mirror"))


class Durable(Way):
    """As a task, by the coordinator."""

    shapes = ("Unary", "Down")
    early_headers = False
    early_shapes = ()
    first_shapes = ("Down",)
    once = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.mesh = MeshHarness(folder)

    async def open(self) -> None:
        await self.mesh.coordinator()
        await self.mesh.agent("a1", program=AGENT, slots=SLOTS)
        await self.mesh.wait_serving(SERVICE)
        await self.mesh.close_channels()
        self.address = self.mesh.target

    async def close(self) -> None:
        await self.mesh.close()

    def logs(self) -> str:
        return self.mesh.logs()


class Direct(Durable):
    """Directly, by the coordinator."""

    shapes = SHAPES
    asks = (("weft-mode", "direct"),)
    early_headers = True
    early_shapes = ("Down", "Up", "Both")
    first_shapes = ("Down", "Both")
    once = True


class Library(Direct):
    """Directly, from the library's own channel."""

    asks = ()
    stock = False

    def channel(self, *_options: tuple[str, int]) -> AbstractAsyncContextManager[grpc.aio.Channel]:
        # It has weft's own.
        return _library_channel(self.mesh.target, direct=True)


class LibraryDurable(Durable):
    """As a task, from the library's own channel."""

    stock = False

    def channel(self, *_options: tuple[str, int]) -> AbstractAsyncContextManager[grpc.aio.Channel]:
        # It has weft's own.
        return _library_channel(self.mesh.target, direct=False)


@asynccontextmanager
async def _library_channel(target: str, *, direct: bool) -> AsyncIterator[grpc.aio.Channel]:
    async with connect(target) as mesh:
        yield mesh.channel(direct=direct)


class Ingress(Durable):
    """To a sidecar's own port, and by it to a stock server."""

    shapes = SHAPES
    early_headers = True
    early_shapes = ("Down", "Up", "Both")
    first_shapes = ("Down", "Both")
    once = True

    async def open(self) -> None:
        await self._beside(egress="off")
        self.address = await direct_address(self.mesh, "side")
        await self.mesh.close_channels()

    async def _beside(self, egress: str) -> None:
        app = await self._python("mirror")
        await self.mesh.coordinator()
        await sidecar(self.mesh, app, slots=SLOTS, egress=egress)
        await self.mesh.wait_serving(SERVICE)

    async def close(self) -> None:
        await super().close()
        await Way.close(self)


class IngressDurable(Ingress):
    """As a task that a sidecar hands to a stock server."""

    shapes = ("Unary", "Down")
    early_headers = False
    early_shapes = ()
    first_shapes = ("Down",)
    once = False

    async def open(self) -> None:
        await self._beside(egress="off")
        self.address = self.mesh.target
        await self.mesh.close_channels()


class Egress(Ingress):
    """From a sidecar's egress directly to its own ingress: a sidecar at both ends."""

    async def open(self) -> None:
        self.address = free_address()
        await self._beside(egress=self.address)
        await self.mesh.close_channels()


class EgressDurable(Egress):
    """From a sidecar's egress as a task, which the same sidecar hands to a stock server."""

    asks = (("weft-mode", "durable"),)
    shapes = ("Unary", "Down")
    early_headers = False
    early_shapes = ()
    first_shapes = ("Down",)
    once = False


STRAIGHT = Straight
WAYS: tuple[type[Way], ...] = (Durable, Direct, Library, Ingress, IngressDurable, Egress)
# Parts of those, and what is made of their parts.
FURTHER_WAYS: tuple[type[Way], ...] = (Relayed, RelayedUnknown, LibraryDurable, EgressDurable)


@asynccontextmanager
async def opened(kind: type[Way], folder: Path) -> AsyncIterator[Way]:
    """A way for the length of a block."""
    folder.mkdir(parents=True, exist_ok=True)
    async with contextlib.AsyncExitStack() as stack:
        way = kind(folder)
        stack.push_async_callback(way.close)
        await way.open()
        yield way
