"""What makes sandboxes: a provider, of which there are several, and the box that it makes. Entry points of the group `weft.sandbox_providers`.

A box is used by one event loop. Its methods raise `BoxError`; what a provider cannot do raises it with UNIMPLEMENTED.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple, Protocol

import grpc

from weft.agent import Sandbox

GROUP = "weft.sandbox_providers"
# Of one of a program's messages, or of a file's part.
CHUNK_BYTES = 65536


class BoxError(Exception):
    """Something cannot be done in a sandbox.

    Args:
        code: what the caller gets.
        message: what happened, and what to do.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclasses.dataclass(frozen=True, slots=True)
class ProgramSpec:
    """A program that is to run in a box."""

    argv: Sequence[str]
    folder: str = ""
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)


class FileFacts(NamedTuple):
    """A file in a folder: its kind is "file", "folder", "link" or "other"."""

    name: str
    size_bytes: int
    kind: str
    changed_at_s: float


class BoxProgram(Protocol):
    """A program that runs in a box."""

    async def write(self, data: bytes) -> None:
        """Give it input. Waits until it is taken; input that nobody takes any more is dropped."""
        ...

    async def end_input(self) -> None:
        """It gets no more input."""
        ...

    def output(self) -> AsyncIterator[tuple[bool, bytes]]:
        """What it writes, to its end: (as errors, bytes). Once."""
        ...

    async def wait(self) -> int:
        """Its status, after its output has been read; of a signal, 128 and its number.

        Raises:
            BoxError: it could not be started.
        """
        ...

    async def signal(self, number: int) -> None:
        """Send a signal to it and its process group. Harmless if it has ended."""
        ...

    async def close(self) -> None:
        """Kill it if it runs, and let go of its files."""
        ...


class BoxConnection(Protocol):
    """A connection to a port in a box."""

    async def write(self, data: bytes) -> None: ...

    async def end_input(self) -> None: ...

    async def read(self) -> bytes:
        """What comes next; empty: it is closed."""
        ...

    async def close(self) -> None: ...


class Box(Protocol):
    """A sandbox, as a provider has made it."""

    held_by: Mapping[str, str]
    # Done when it has ended: why.
    ended: asyncio.Future[str]

    async def start(self, program: ProgramSpec) -> BoxProgram: ...

    async def connect(self, port: int) -> BoxConnection: ...

    async def read_file(self, path: str, offset: int, most: int) -> tuple[bytes, int]:
        """A part of a file, and the size of all of it."""
        ...

    async def write_file(self, path: str, data: bytes, offset: int, *, executable: bool) -> int:
        """Returns the size of the whole file."""
        ...

    async def list_files(self, path: str, most: int) -> tuple[list[FileFacts], bool]:
        """The files, and whether there are more."""
        ...

    async def remove_file(self, path: str) -> None: ...

    def pack(self) -> AsyncIterator[bytes]:
        """All of its files, as a tar archive."""
        ...

    async def unpack(self, archive: AsyncIterator[bytes]) -> None:
        """Put files of such an archive into it."""
        ...

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...

    def usage(self) -> tuple[int, int]:
        """Bytes of memory that it uses (0: not known), and how often a process was ended for its memory."""
        ...

    async def terminate(self, why: str) -> None:
        """End it, and wait until nothing is left. Harmless if it has ended."""
        ...


class Provider(Protocol):
    """Makes boxes."""

    async def create(self, sandbox: Sandbox) -> Box:
        """A box that is ready.

        Raises:
            BoxError: it cannot be made.
        """
        ...

    async def close(self) -> None:
        """Let go of what is shared by boxes."""
        ...


class Providers:
    """The providers that are used, each made once."""

    def __init__(self) -> None:
        self._made: dict[str, Provider] = {}

    def get(self, name: str) -> Provider:
        """The provider of a name.

        Raises:
            BoxError: there is none, or it cannot be imported.
        """
        if name not in self._made:
            self._made[name] = find_provider(name)()
        return self._made[name]

    async def close(self) -> None:
        """Close all of them."""
        for each in self._made.values():
            await each.close()


def find_provider(name: str) -> Any:
    """The factory of a provider: it takes nothing, and gives a `Provider`.

    Raises:
        BoxError: there is none of this name, or it cannot be imported.
    """
    found = {each.name: each for each in metadata.entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise BoxError(
            grpc.StatusCode.NOT_FOUND, f"there is no sandbox provider {name!r}; installed: {known}"
        )
    try:
        return found[name].load()
    except Exception as error:
        raise BoxError(
            grpc.StatusCode.FAILED_PRECONDITION, f"the sandbox provider {name} cannot be imported: {error}"
        ) from error
