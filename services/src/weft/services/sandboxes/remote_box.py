"""A box that is reached by running programs in it alone: a container, a pod. Whatever carries it (a `Carrier`) starts processes there; all else is made of these.

start, read_file, … ─► `box_once` in the box, by a process of its own, with frames as its input (the first: what is asked) ─► output, errors, a status
process 1 ◄─ a byte each 10 s. Without it for a minute it ends, and all with it: so does a box whose agent is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import uuid
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any

import grpc

from weft.rpc.process.logs import get_logger
from weft.services.sandboxes.box_files import BoxFiles
from weft.services.sandboxes.box_once import FAILED
from weft.services.sandboxes.remote_piece import (
    PIECE_S,
    Carrier,
    Channel,
    begin,
    feed,
    finish,
    frame,
    read_all,
    too_long,
)
from weft.services.sandboxes.sandbox_provider import BoxError, ProgramSpec

_log = get_logger("weft.services.sandboxes")

READY_S = 60.0
LEASE_S = 60
_BEAT_S = 10.0
_MOST_WORDS_BYTES = 4096
_NOTHING: Mapping[str, str] = MappingProxyType({})


class RemoteBox(BoxFiles):
    """A box, and the connection to its process 1. Large because the Protocol `Box` is: each method is a few lines.

    Args:
        first: the connection to its process 1.
        variables: of each program in it.
    """

    def __init__(self, carrier: Carrier, first: Channel, variables: Mapping[str, str] = _NOTHING) -> None:
        self._carrier = carrier
        self._first = first
        self._variables = variables
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
        # It answers the first that it hears: who listened later than it spoke would miss it.
        with contextlib.suppress(BoxError):
            await self._first.write(b".")
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
        variables = {**self._variables, **program.variables}
        what = {"argv": list(program.argv), "folder": program.folder, "variables": variables}
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
        return await begin(self._carrier, do, **what)

    async def tell(self, do: str, **what: Any) -> None:
        """A piece of work whose end is of no interest."""
        with contextlib.suppress(BoxError):
            await self._work(do, **what)

    async def _work(self, do: str, given: bytes | AsyncIterator[bytes] = b"", **what: Any) -> bytes:
        """A piece of work: what it tells."""
        try:
            async with asyncio.timeout(PIECE_S):
                channel = await self.run(do, **what)
                feeding = asyncio.ensure_future(feed(channel, given))
                reading = asyncio.ensure_future(read_all(channel))
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
            raise too_long() from None

    async def _watch(self) -> None:
        """Its end is the end of its process 1."""
        with contextlib.suppress(BoxError):
            while await self._first.read():
                pass
        # It may be ending already, for another reason.
        await self.terminate(self._why or await self._carrier.ended_for())

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
                await self._channel.write(frame(data))

    async def end_input(self) -> None:
        if self._more_input:
            self._more_input = False
            with contextlib.suppress(BoxError):
                await self._channel.write(frame(b""))

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
                await self._channel.write(frame(data))

    async def end_input(self) -> None:
        with contextlib.suppress(BoxError):
            await self._channel.write(frame(b""))

    async def read(self) -> bytes:
        while told := await self._channel.read():
            if not told[0]:
                return told[1]
            self.errors += told[1][: _MOST_WORDS_BYTES - len(self.errors)]
        return b""

    async def close(self) -> None:
        await self._channel.close()
