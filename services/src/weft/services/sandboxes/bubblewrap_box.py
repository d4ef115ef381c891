"""The provider `bubblewrap`: a sandbox of the agent library, with a process 1 that starts programs."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import grpc

from weft.agent import Sandbox, SandboxError
from weft.agent.sandboxing import sandbox_process
from weft.agent.sandboxing.pausing import pause_processes, resume_processes
from weft.services.sandboxes import box_init
from weft.services.sandboxes.box_files import BoxFiles
from weft.services.sandboxes.box_pipes import PipeIn, PipeOut, SocketEnd, read_both
from weft.services.sandboxes.init_link import InitLink
from weft.services.sandboxes.sandbox_provider import CHUNK_BYTES, BoxError, ProgramSpec

_READY_S = 20.0
_FILE_S = 30.0
_MOST_HEAD_BYTES = 8 << 20
_PATHS = ("/usr/bin/python3", "/usr/local/bin/python3")
T = TypeVar("T")


class BubblewrapProvider:
    """Makes boxes on this machine."""

    async def create(self, sandbox: Sandbox) -> BubblewrapBox:
        """A box whose process 1 listens.

        Raises:
            BoxError: the machine cannot make one.
        """
        python, readable = _python()
        widened = dataclasses.replace(sandbox, readable=(*sandbox.readable, *readable))
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        argv = [python, "-I", "-S", "-c", _init_text(), str(theirs.fileno())]

        def begin() -> sandbox_process.SandboxProcess:
            with theirs:
                return sandbox_process.start(widened, argv, pass_fds=[theirs.fileno()], first_process=True)

        starting = asyncio.ensure_future(_in_thread(begin))
        try:
            process = await asyncio.shield(starting)
        except SandboxError as error:
            mine.close()
            raise BoxError(grpc.StatusCode.FAILED_PRECONDITION, error.message) from error
        except BaseException:
            mine.close()
            # It starts nevertheless, and nobody wants it any more.
            starting.add_done_callback(_close_unwanted)
            raise
        box = BubblewrapBox(process, InitLink(mine))
        try:
            async with asyncio.timeout(_READY_S):
                await box.ready()
        except BaseException as error:
            words = process.words()
            await box.terminate("it did not start")
            if isinstance(error, TimeoutError | BoxError):
                raise BoxError(
                    grpc.StatusCode.FAILED_PRECONDITION, f"a sandbox did not start: {words or error}"
                ) from error
            raise
        return box

    async def close(self) -> None:
        """Nothing is shared."""


class BubblewrapBox(BoxFiles):
    """A sandbox, its process 1, and the link to it. Large because the Protocol `Box` is: each method is a few lines."""

    def __init__(self, process: sandbox_process.SandboxProcess, link: InitLink) -> None:
        self._process = process
        self._link = link
        self._loop = asyncio.get_running_loop()
        self.held_by: Mapping[str, str] = process.held_by
        self.ended: asyncio.Future[str] = self._loop.create_future()
        self._why = ""
        self._paused = False
        self._closing: asyncio.Task[None] | None = None
        # Readable when bubblewrap has ended.
        self._watched = os.pidfd_open(process.bubblewrap_id)
        self._loop.add_reader(self._watched, self._on_end)

    async def ready(self) -> None:
        """Wait until its process 1 listens."""
        message = await self._link.ready
        assert message["exit"] == 0

    async def start(self, program: ProgramSpec) -> BubblewrapProgram:
        made = BubblewrapProgram(self._link)
        await made.begin(program)
        return made

    async def connect(self, port: int) -> SocketEnd:
        number = 0
        end = SocketEnd(lambda: self._link.tell("signal", of=number, number=signal.SIGKILL))
        number, ends = self._link.ask("connect", [0, end.theirs.fileno()], port=port)
        await end.open()
        first = await end.read()
        if first != b"\n":
            await end.close()
            try:
                await ends
            except BoxError as error:
                raise BoxError(error.code, f"port {port} of the sandbox: {error.message}") from error
            raise BoxError(grpc.StatusCode.UNAVAILABLE, f"port {port} of the sandbox gives no answer")
        return end

    async def pack(self) -> AsyncIterator[bytes]:
        nothing, out = PipeIn(), PipeOut()
        # Its programs stand still: only process 1, and what packs, goes on.
        await _in_thread(lambda: pause_processes(self._process, but_first=True))
        try:
            with _given(nothing, out):
                _, ends = self._link.ask("pack", [nothing.theirs, out.theirs])
            await nothing.open()
            await out.open()
            nothing.close()
            while data := await out.reader.read(CHUNK_BYTES):
                yield data
            if await ends:
                raise BoxError(grpc.StatusCode.FAILED_PRECONDITION, "the sandbox's files cannot be read")
        finally:
            out.close()
            await (self.pause() if self._paused else self.resume())

    async def unpack(self, archive: AsyncIterator[bytes]) -> None:
        await self._work("unpack", archive)

    async def pause(self) -> None:
        self._paused = True
        await _in_thread(lambda: pause_processes(self._process))

    async def resume(self) -> None:
        self._paused = False
        await _in_thread(lambda: resume_processes(self._process))

    def usage(self) -> tuple[int, int]:
        group = self._process.group
        return (0, 0) if group is None else (group.memory_bytes(), group.killed_for_memory())

    async def terminate(self, why: str) -> None:
        self._why = self._why or why
        self._link.close()
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        # Goes on if the caller leaves.
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await _in_thread(self._process.close)
        self._on_end()

    def _on_end(self) -> None:
        if not self.ended.done():
            self._loop.remove_reader(self._watched)
            os.close(self._watched)
            why = self._why or self._process.ended_for or "its process 1 has ended"
            self.ended.set_result(why)

    async def _work(self, do: str, given: bytes | AsyncIterator[bytes] = b"", **what: Any) -> bytes:
        """Work on files: what it tells of them."""
        source, out = PipeIn(), PipeOut()
        with _given(source, out):
            number, ends = self._link.ask(do, [source.theirs, out.theirs], **what)
        await source.open()
        await out.open()
        try:
            async with asyncio.timeout(_FILE_S):
                if isinstance(given, bytes):
                    await source.write(given)
                else:
                    async for data in given:
                        await source.write(data)
                source.close()
                told = bytearray()
                while data := await out.reader.read(CHUNK_BYTES):
                    told += data
                    if len(told) > _MOST_HEAD_BYTES:
                        raise BoxError(grpc.StatusCode.FAILED_PRECONDITION, "the sandbox tells too much")
                if await ends:
                    raise BoxError(grpc.StatusCode.FAILED_PRECONDITION, "the sandbox did not do it")
            return bytes(told)
        except TimeoutError:
            self._link.tell("signal", of=number, number=signal.SIGKILL)
            raise BoxError(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"the sandbox did not do it within {_FILE_S:.0f} s"
            ) from None
        finally:
            source.abort()
            out.close()


class BubblewrapProgram:
    """A program in the sandbox."""

    def __init__(self, link: InitLink) -> None:
        self._link = link
        self._number = 0
        self._ends: asyncio.Future[int] | None = None
        self._input, self._output, self._errors = PipeIn(), PipeOut(), PipeOut()

    async def begin(self, program: ProgramSpec) -> None:
        pipes = self._input, self._output, self._errors
        with _given(*pipes):
            self._number, self._ends = self._link.ask(
                "exec",
                [each.theirs for each in pipes],
                argv=list(program.argv),
                folder=program.folder,
                variables=dict(program.variables),
            )
        for each in pipes:
            await each.open()

    async def write(self, data: bytes) -> None:
        await self._input.write(data)

    async def end_input(self) -> None:
        self._input.close()

    def output(self) -> AsyncIterator[tuple[bool, bytes]]:
        assert self._ends is not None
        return read_both(self._output, self._errors, self._ends)

    async def wait(self) -> int:
        assert self._ends is not None
        return await self._ends

    async def signal(self, number: int) -> None:
        if self._ends is not None and not self._ends.done():
            self._link.tell("signal", of=self._number, number=number)

    async def close(self) -> None:
        await self.signal(signal.SIGKILL)
        self._input.abort()
        self._output.close()
        self._errors.close()


@contextlib.contextmanager
def _given(*pipes: PipeIn | PipeOut) -> Any:
    """Their other ends are the sandbox's when the block ends."""
    try:
        yield
    finally:
        for each in pipes:
            each.given()


def _close_unwanted(starting: asyncio.Future[sandbox_process.SandboxProcess]) -> None:
    if not starting.cancelled() and starting.exception() is None:
        starting.get_loop().run_in_executor(None, starting.result().close)


async def _in_thread(function: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(None, function)


@functools.cache
def _python() -> tuple[str, tuple[str, ...]]:
    """A Python that sandboxes can run, and what they must read for it."""
    for path in _PATHS:
        if os.access(path, os.X_OK) and _is_usable(path):
            return path, ()
    return str(Path(sys.executable).resolve()), (sys.base_prefix,)


def _is_usable(path: str) -> bool:
    code = "import sys; sys.exit(sys.version_info < (3, 9))"
    found = subprocess.run([path, "-I", "-S", "-c", code], check=False, timeout=10)  # noqa: S603
    return not found.returncode


@functools.cache
def _init_text() -> str:
    return Path(box_init.__file__).read_text(encoding="utf-8")
