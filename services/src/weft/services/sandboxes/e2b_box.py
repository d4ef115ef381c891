"""The provider `e2b`: a sandbox is one of E2B's cloud, by their SDK. Its template has its own memory, cores and disk; python3 is all that it needs.

programs by `commands.run`, whose output is text there, and so comes in lines of base64 ─► the box. E2B ends a sandbox after a time that is set anew while the agent lives.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc

from weft.agent import Sandbox
from weft.rpc.process.extras import require
from weft.rpc.raised import line_of, text_of
from weft.services.sandboxes.remote_box import RemoteBox
from weft.services.sandboxes.remote_piece import box_variables
from weft.services.sandboxes.sandbox_provider import BoxError
from weft.services.sandboxes.settings import SandboxesSettings

require("e2b", "the sandbox provider e2b")
import e2b  # noqa: E402 - it has been said what to install

_CALL_S = 30.0
_LEASE_S = 120
# Between two questions to E2B while a sandbox lives.
_RENEW_S = 20.0
_OWN_PROCESSES = 24
# Parts of a program's output that wait to be read.
_PARTS = 64
# Of 48 KiB, what is read at once there, in base64.
_MOST_LINE = 65536
# Of what E2B says of an error.
_WORDS = 200
_TEMPLATE = "E2B: what the template has, whatever is asked for"
_HELD_BY = {
    "memory_mb": _TEMPLATE,
    "cpus": _TEMPLATE,
    "max_processes": "RLIMIT_NPROC, of the sandbox's user",
    "max_open_files": "RLIMIT_NOFILE, for each process",
    "disk_mb": _TEMPLATE,
}


class E2bBoxProvider:
    """Makes sandboxes at E2B."""

    def __init__(self) -> None:
        self._settings = SandboxesSettings()

    async def create(self, sandbox: Sandbox) -> RemoteBox:
        """A box that takes programs.

        Raises:
            BoxError: there is no key, or E2B cannot be reached, or refuses.
        """
        if sandbox.readable:
            raise BoxError(
                grpc.StatusCode.UNIMPLEMENTED,
                "the provider e2b cannot show folders of the machine (WEFT_SANDBOXES_READABLE): put them into the template",
            )
        key = self._settings.e2b_key.get_secret_value() if self._settings.e2b_key else ""
        if not key:
            raise BoxError(
                grpc.StatusCode.FAILED_PRECONDITION, "the provider e2b needs a key: WEFT_SANDBOXES_E2B_KEY"
            )
        limits = {
            "NPROC": sandbox.max_processes + _OWN_PROCESSES,
            "NOFILE": sandbox.max_open_files,
            "CORE": 0,
        }
        variables = {"WEFT_BOX_LIMITS": json.dumps(limits), "WEFT_BOX_TEXT": "1", **box_variables()}
        async with _told():
            made = await e2b.AsyncSandbox.create(
                self._settings.e2b_template,
                timeout=_LEASE_S,
                metadata={"weft": "sandbox"},
                envs=variables,
                allow_internet_access=sandbox.network,
                api_key=key,
                request_timeout=_CALL_S,
            )
        carrier = E2bCarrier(made)
        try:
            async with _told():
                await made.commands.run("mkdir -p /work && chmod 1777 /work", user="root", timeout=_CALL_S)
            box = RemoteBox(carrier, carrier.first, {"HOME": "/work", **sandbox.variables})
            await box.ready()
        except BaseException:
            with contextlib.suppress(BoxError):
                await asyncio.shield(carrier.remove())
            raise
        return box

    async def close(self) -> None:
        """Nothing is shared, but the SDK's connections, which are the program's."""


class E2bCarrier:
    """A sandbox of E2B, and what is done with it."""

    held_by: Mapping[str, str] = _HELD_BY

    def __init__(self, sandbox: e2b.AsyncSandbox) -> None:
        self.sandbox = sandbox
        self.first = E2bLease(self)
        # While it is paused, its connections are lost, and made again later.
        self.runs = asyncio.Event()
        self.runs.set()
        self._channels: set[E2bChannel] = set()

    async def run(self, argv: Sequence[str]) -> E2bChannel:
        channel = E2bChannel(self)
        async with _told():
            await channel.open(f"exec {shlex.join(argv)}")
        self._channels = {each for each in self._channels if not each.over} | {channel}
        return channel

    async def pause(self) -> None:
        self.runs.clear()
        try:
            async with _told():
                await self.sandbox.pause()
        except BaseException:
            self.runs.set()
            raise

    async def resume(self) -> None:
        async with _told():
            await self.sandbox.connect(timeout=_LEASE_S)
        self.runs.set()

    async def remove(self) -> None:
        try:
            async with _told():
                await self.sandbox.kill()
        finally:
            self.first.end()
            await asyncio.gather(*(each.close() for each in self._channels), return_exceptions=True)

    async def ended_for(self) -> str:
        return "E2B has it no more: it was killed there, or its time was over"


class E2bLease:
    """In the place of the connection to process 1: what is written sets the time anew, and it ends with the sandbox."""

    def __init__(self, carrier: E2bCarrier) -> None:
        self._carrier = carrier
        self._over = asyncio.Event()
        self._said = False
        self._renew_at_s = 0.0

    def end(self) -> None:
        """It is over."""
        self._over.set()

    async def write(self, data: bytes) -> None:  # noqa: ARG002 - that something is, is enough
        now_s = asyncio.get_running_loop().time()
        if now_s < self._renew_at_s or not self._carrier.runs.is_set():
            return
        self._renew_at_s = now_s + _RENEW_S
        async with _told():
            try:
                await self._carrier.sandbox.set_timeout(_LEASE_S)
            except e2b.NotFoundException:
                # One that is being paused is not there for a moment.
                if self._carrier.runs.is_set():
                    self.end()

    async def read(self) -> tuple[bool, bytes] | None:
        if not self._said:
            self._said = True
            return False, b"ready\n"
        await self._over.wait()
        return None

    async def status(self) -> int:
        return 0

    async def close(self) -> None:
        self.end()


class E2bChannel:
    """A process in a sandbox."""

    def __init__(self, carrier: E2bCarrier) -> None:
        self._carrier = carrier
        self._parts: asyncio.Queue[tuple[bool, bytes] | None] = asyncio.Queue(_PARTS)
        self._left = {True: "", False: ""}
        self._handle: Any = None
        self._following: asyncio.Task[None] | None = None
        self._end: int | BoxError | None = None
        self.over = False

    async def open(self, command: str) -> None:
        self._handle = await self._carrier.sandbox.commands.run(
            command,
            background=True,
            stdin=True,
            timeout=0,
            on_stdout=lambda text: self._take(False, text),
            on_stderr=lambda text: self._take(True, text),
        )
        self._following = asyncio.ensure_future(self._follow())

    async def write(self, data: bytes) -> None:
        async with _told():
            await self._carrier.sandbox.commands.send_stdin(self._handle.pid, data)

    async def read(self) -> tuple[bool, bytes] | None:
        told = None if self.over and self._parts.empty() else await self._parts.get()
        if told is None:
            self.over = True
        return told

    async def status(self) -> int:
        if isinstance(self._end, BoxError):
            raise self._end
        assert self._end is not None
        return self._end

    async def close(self) -> None:
        if self._following is not None and not self._following.done():
            self._following.cancel()
            await asyncio.wait({self._following})
            await self._handle.disconnect()
        self._end = self._end if self._end is not None else _lost("it was closed")
        if not self.over:
            # A reader may wait.
            while not self._parts.empty():
                self._parts.get_nowait()
            self._parts.put_nowait(None)

    async def _take(self, as_errors: bool, text: str) -> None:
        # The SDK keeps all output otherwise.
        self._handle._stdout_chunks.clear()
        self._handle._stderr_chunks.clear()
        *lines, left = (self._left[as_errors] + text).split("\n")
        if len(left) > _MOST_LINE:
            lines, left = [*lines, left], ""
        self._left[as_errors] = left
        for line in lines:
            await self._parts.put((as_errors, part_of(line)))

    async def _follow(self) -> None:
        """To its end, also past pauses."""
        commands = self._carrier.sandbox.commands
        while self._end is None:
            try:
                self._end = (await self._handle.wait()).exit_code
            except e2b.CommandExitException as ended:
                self._end = ended.exit_code
            except Exception as error:
                if self._carrier.runs.is_set():
                    self._end = _lost(line_of(error))
                    break
                await self._carrier.runs.wait()
                try:
                    self._handle = await commands.connect(
                        self._handle.pid,
                        timeout=0,
                        on_stdout=lambda text: self._take(False, text),
                        on_stderr=lambda text: self._take(True, text),
                    )
                except Exception as lost:
                    self._end = _lost(line_of(lost))
        await self._parts.put(None)


def part_of(line: str) -> bytes:
    """A part of a program's output, from its line. What is no such line is told as it is: what comes from there is not trusted."""
    try:
        return base64.b64decode(line, validate=True)
    except ValueError:
        return line.encode(errors="replace")


def _lost(why: str) -> BoxError:
    return BoxError(
        grpc.StatusCode.UNAVAILABLE,
        f"the connection to the program was lost before its end was told: {why[:_WORDS]}",
    )


@contextlib.asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """What E2B refuses, as an error that a caller gets. Never with the key."""
    refused = grpc.StatusCode.FAILED_PRECONDITION
    try:
        yield
    except e2b.AuthenticationException:
        raise BoxError(refused, "E2B does not know the key (WEFT_SANDBOXES_E2B_KEY)") from None
    except e2b.RateLimitException as error:
        raise BoxError(
            grpc.StatusCode.RESOURCE_EXHAUSTED, f"E2B takes no more for now: {_words(error)}"
        ) from error
    except e2b.NotFoundException as error:
        raise BoxError(refused, f"E2B has it no more: {_words(error)}") from error
    except e2b.TimeoutException as error:
        raise BoxError(
            grpc.StatusCode.UNAVAILABLE, f"E2B does not answer in time: {_words(error)}"
        ) from error
    except e2b.SandboxException as error:
        raise BoxError(refused, f"E2B refuses it: {_words(error)}") from error
    except BoxError:
        raise
    except Exception as error:
        raise BoxError(
            grpc.StatusCode.UNAVAILABLE, f"E2B cannot be reached: {line_of(error)[:_WORDS]}"
        ) from error


def _words(error: Exception) -> str:
    return text_of(error)[:_WORDS]
