"""A box that is reached by running programs in it alone: a container, a pod. Whatever carries it (a `Carrier`) starts processes there; all else is made of these.

start, read_file, … ─► `box_once` in the box, by a process of its own, with frames as its input ─► output, errors, a status
process 1 ◄─ a byte each 10 s. Without it for a minute it ends, and all with it: so does a box whose agent is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import signal
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import grpc

from weft.rpc.process.logs import get_logger
from weft.services.sandboxes import box_init, box_once
from weft.services.sandboxes.box_files import BoxFiles
from weft.services.sandboxes.box_once import FAILED, FAILED_STATUS
from weft.services.sandboxes.init_link import failure
from weft.services.sandboxes.sandbox_provider import CHUNK_BYTES, BoxError, ProgramSpec

_log = get_logger("weft.services.sandboxes")

READY_S = 60.0
LEASE_S = 60
_BEAT_S = 10.0
_FILE_S = 30.0
_MOST_HEAD_BYTES = 8 << 20
_MOST_WORDS_BYTES = 4096
_START = "import os;g={'__name__':'box'};exec(os.environ['WEFT_BOX'],g);exec(os.environ['WEFT_BOX_ONCE'],g);g['once']()"


class Channel(Protocol):
    """A process in a box: its input, its output, its end."""

    async def write(self, data: bytes) -> None: ...

    async def read(self) -> tuple[bool, bytes] | None:
        """What comes next: (as errors, bytes); None: nothing more."""
        ...

    async def status(self) -> int:
        """Its status, after all has been read."""
        ...

    async def close(self) -> None: ...


class Carrier(Protocol):
    """What a provider can do with a box. Its methods raise `BoxError`."""

    held_by: Mapping[str, str]

    async def run(self, argv: Sequence[str]) -> Channel: ...

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...

    async def remove(self) -> None:
        """End it, and wait until nothing is left. Harmless if it is gone."""
        ...


def argv_of(do: str, **what: Any) -> list[str]:
    """What does a piece of work in a box."""
    return ["python3", "-I", "-S", "-c", _START, json.dumps({"do": do, **what})]


@functools.cache
def box_variables() -> Mapping[str, str]:
    """The variables that a box needs for it."""
    texts = {"WEFT_BOX": box_init, "WEFT_BOX_ONCE": box_once}
    return {name: Path(str(module.__file__)).read_text(encoding="utf-8") for name, module in texts.items()}


class RemoteBox(BoxFiles):
    """A box, and the connection to its process 1. Large because the Protocol `Box` is: each method is a few lines."""

    def __init__(self, carrier: Carrier, first: Channel) -> None:
        self._carrier = carrier
        self._first = first
        self.held_by = carrier.held_by
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._why = ""
        self._paused = False
        self._closing: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def ready(self) -> None:
        """Wait until its process 1 runs.

        Raises:
            BoxError: it does not.
        """
        words = b""
        try:
            async with asyncio.timeout(READY_S):
                while b"ready\n" not in words and (told := await self._first.read()):
                    words = (words + told[1])[-_MOST_WORDS_BYTES:]
        except TimeoutError:
            words += b" (no answer)"
        if b"ready\n" not in words:
            said = (
                words.decode(errors="replace").strip()
                or "its process 1 has ended. Its image must have python3"
            )
            raise BoxError(grpc.StatusCode.FAILED_PRECONDITION, f"a sandbox did not start: {said}")
        self._tasks = [asyncio.ensure_future(self._watch()), asyncio.ensure_future(self._beat())]

    async def start(self, program: ProgramSpec) -> RemoteProgram:
        mark = uuid.uuid4().hex
        what = {"argv": list(program.argv), "folder": program.folder, "variables": dict(program.variables)}
        return RemoteProgram(self, mark, await self.run("exec", mark=mark, **what))

    async def connect(self, port: int) -> RemoteConnection:
        channel = await self.run("connect", port=port)
        made = RemoteConnection(channel)
        try:
            if await made.read() != b"\n":
                await finish(channel, made.errors)
                raise BoxError(grpc.StatusCode.UNAVAILABLE, "no answer")
        except BaseException as error:
            await channel.close()
            if isinstance(error, BoxError):
                raise BoxError(error.code, f"port {port} of the sandbox: {error.message}") from error
            raise
        return made

    async def pack(self) -> AsyncIterator[bytes]:
        if self._paused:
            await self._carrier.resume()
        whole = False
        try:
            channel = await self.run("pack")
            errors = bytearray()
            try:
                while told := await channel.read():
                    if not told[0]:
                        yield told[1]
                    elif len(errors) < _MOST_WORDS_BYTES:
                        errors += told[1]
                await finish(channel, errors)
                whole = True
            finally:
                await channel.close()
        finally:
            if not whole and not self.ended.done():
                await self._work("go")
            if self._paused:
                await self._carrier.pause()

    async def unpack(self, archive: AsyncIterator[bytes]) -> None:
        await self._work("unpack", archive)

    async def pause(self) -> None:
        await self._carrier.pause()
        self._paused = True

    async def resume(self) -> None:
        await self._carrier.resume()
        self._paused = False

    def usage(self) -> tuple[int, int]:
        return (0, 0)

    async def terminate(self, why: str) -> None:
        self._why = self._why or why
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        # Goes on if the caller leaves.
        await asyncio.shield(self._closing)

    async def run(self, do: str, **what: Any) -> Channel:
        """Begin a piece of work in the box."""
        if self.ended.done():
            raise BoxError(grpc.StatusCode.FAILED_PRECONDITION, "the sandbox has ended")
        return await self._carrier.run(argv_of(do, **what))

    async def tell(self, do: str, **what: Any) -> None:
        """A piece of work whose end is of no interest."""
        with contextlib.suppress(BoxError):
            await self._work(do, **what)

    async def _work(self, do: str, given: bytes | AsyncIterator[bytes] = b"", **what: Any) -> bytes:
        """A piece of work: what it tells."""
        try:
            async with asyncio.timeout(_FILE_S):
                channel = await self.run(do, **what)
                feeding = asyncio.ensure_future(_feed(channel, given))
                reading = asyncio.ensure_future(_read_all(channel))
                try:
                    await asyncio.wait({feeding, reading}, return_when=asyncio.FIRST_COMPLETED)
                    if feeding.done():
                        feeding.result()
                    told, errors = await reading
                    await finish(channel, errors)
                    return bytes(told)
                finally:
                    feeding.cancel()
                    reading.cancel()
                    await asyncio.wait({feeding, reading})
                    await channel.close()
        except TimeoutError:
            raise BoxError(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"the sandbox did not do it within {_FILE_S:.0f} s"
            ) from None

    async def _watch(self) -> None:
        """Its end is the end of its process 1."""
        with contextlib.suppress(BoxError):
            while await self._first.read():
                pass
        await self.terminate("its process 1 has ended")

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            with contextlib.suppress(BoxError):
                await self._first.write(b".")

    async def _close(self) -> None:
        try:
            await self._carrier.remove()
        except BoxError as error:
            # Without its agent it ends by itself.
            _log.warning("sandbox.not_removed", error=repr(error))
        finally:
            with contextlib.suppress(BoxError):
                await self._first.close()
            for each in self._tasks:
                each.cancel()
            if not self.ended.done():
                self.ended.set_result(self._why)


class RemoteProgram:
    """A program in such a box."""

    def __init__(self, box: RemoteBox, mark: str, channel: Channel) -> None:
        self._box = box
        self._mark = mark
        self._channel = channel
        self._errors = bytearray()
        self._more_input = True
        self._over = False

    async def write(self, data: bytes) -> None:
        if data and self._more_input:
            with contextlib.suppress(BoxError):
                await self._channel.write(_frame(data))

    async def end_input(self) -> None:
        if self._more_input:
            self._more_input = False
            with contextlib.suppress(BoxError):
                await self._channel.write(_frame(b""))

    async def output(self) -> AsyncIterator[tuple[bool, bytes]]:
        while told := await self._channel.read():
            if told[0] and not self._errors and told[1].startswith(FAILED.encode()):
                self._errors += told[1][:_MOST_WORDS_BYTES]
                continue
            yield told
        self._over = True

    async def wait(self) -> int:
        return await finish(self._channel, self._errors, any_status=True)

    async def signal(self, number: int) -> None:
        if not self._over:
            await self._box.tell("signal", of=self._mark, number=number)

    async def close(self) -> None:
        await self.signal(signal.SIGKILL)
        await self._channel.close()


class RemoteConnection:
    """A connection to a port in such a box."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.errors = bytearray()

    async def write(self, data: bytes) -> None:
        if data:
            with contextlib.suppress(BoxError):
                await self._channel.write(_frame(data))

    async def end_input(self) -> None:
        with contextlib.suppress(BoxError):
            await self._channel.write(_frame(b""))

    async def read(self) -> bytes:
        while told := await self._channel.read():
            if not told[0]:
                return told[1]
            self.errors += told[1][: _MOST_WORDS_BYTES - len(self.errors)]
        return b""

    async def close(self) -> None:
        await self._channel.close()


async def finish(channel: Channel, errors: bytearray, *, any_status: bool = False) -> int:
    """The status of what has told all.

    Raises:
        BoxError: it has failed, as its errors say.
    """
    code = await channel.status()
    number = bytes(errors).removeprefix(FAILED.encode()).strip()
    if code == FAILED_STATUS and errors.startswith(FAILED.encode()) and number.isdigit() and len(number) < 6:
        raise failure(int(number))
    if code and not any_status:
        raise BoxError(
            grpc.StatusCode.FAILED_PRECONDITION, f"the work in the sandbox ended with status {code}"
        )
    return code


async def _feed(channel: Channel, given: bytes | AsyncIterator[bytes]) -> None:
    """Give it all, and the end.

    Raises:
        BoxError: where it comes from fails. If nobody takes it, what they answer says why.
    """
    async for data in given if not isinstance(given, bytes) else _chunks(given):
        if data:
            with contextlib.suppress(BoxError):
                await channel.write(_frame(data))
    with contextlib.suppress(BoxError):
        await channel.write(_frame(b""))


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(data), CHUNK_BYTES):
        yield data[begin : begin + CHUNK_BYTES]


async def _read_all(channel: Channel) -> tuple[bytearray, bytearray]:
    told, errors = bytearray(), bytearray()
    while part := await channel.read():
        (errors if part[0] else told).extend(part[1])
        if len(told) + len(errors) > _MOST_HEAD_BYTES:
            raise BoxError(grpc.StatusCode.FAILED_PRECONDITION, "the sandbox tells too much")
    return told, errors


def _frame(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
