"""`weft top` on a real terminal: what is seen at 80 and 120 columns, what keys do to the mesh, and the terminal after every way out."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.command import weft
from tests.support.mesh import MeshHarness
from tests.support.processes import environment, until
from weft.client import DesiredState, connect
from weft.v1 import task_pb2

_LEAVE = b"\x1b[?1049l"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A terminal with `weft top` on it."""

    def __init__(self, target: str, columns: int = 80) -> None:
        self._target = target
        self._ours, self._theirs = pty.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.before = termios.tcgetattr(self._theirs)
        self.written = b""

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._ours, self._read)
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "weft.cli.main",
            "top",
            "--interval-s",
            "0.3",
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=environment() | {"WEFT_TARGET": self._target, "TERM": "xterm"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self) -> None:
        self.written += os.read(self._ours, 1 << 16)

    @property
    def screen(self) -> list[str]:
        """The lines of the last whole screen."""
        whole = [each for each in self.written.split(b"\x1b[H") if each.endswith(b"\x1b[J")]
        text = _ESCAPES.sub("", whole[-1].decode()) if len(whole) > 1 else ""
        return text.replace("\r", "").split("\n")

    async def seen(self, *words: str) -> list[str]:
        """Wait until the screen has these words."""

        def there() -> bool:
            lines = self.screen
            return all(any(word in text for text in lines) for word in words)

        try:
            await until(there, f"{words} on the screen", timeout_s=30)
        except TimeoutError as error:
            raise AssertionError("\n".join([str(error), *self.screen])) from None
        return self.screen

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    async def end(self) -> int:
        """Wait for its end; its status. The terminal must be as before."""
        async with asyncio.timeout(20):
            status = await self.process.wait()

        await until(lambda: _LEAVE in self.written, "the screen is left")
        assert termios.tcgetattr(self._theirs) == self.before
        assert b"\x1b[?25h" in self.written
        assert b"Traceback" not in self.written
        return status


@pytest.mark.slow
async def test_a_mesh_is_watched_and_steered(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("a1", slots=2)
    for _ in range(3):
        await mesh.probe().Call(ProbeRequest(text="x"), timeout=20)
    with pytest.raises(grpc.aio.AioRpcError):
        await mesh.probe().Call(ProbeRequest(fail_code=5, fail_message="no such order"), timeout=20)
    running = await tasks.submit(mesh, ProbeRequest(text="s", sleep_s=60))
    async with Terminal(mesh.target) as terminal:
        lines = await terminal.seen("1 agents", "1/2 slots", "ProbeService/Call", "25%")
        assert len(lines) == 24
        assert max(map(len, lines)) <= 80
        terminal.type("5")
        await terminal.seen("NOT_FOUND: no such order")
        terminal.type("\r")
        await terminal.seen("error         NOT_FOUND: no such order", "Esc back")
        terminal.type("\x1b")
        await terminal.seen("[5:failures]", "Enter open")
        terminal.type("2d")
        await terminal.seen("drain agent a1? y")
        terminal.type("y")
        await terminal.seen("drain agent a1: done", "DRAINING")
        async with connect(mesh.target) as client:
            assert (await client.fleet.agent("a1")).desired_state is DesiredState.DRAINING
        terminal.type("4")
        await terminal.seen(running)
        terminal.type("c")
        await terminal.seen(f"cancel task {running}? y")
        terminal.type("y")
        assert (await tasks.end(mesh, running)).state == task_pb2.TASK_STATE_CANCELLED
        # The mesh goes away and comes back: the picture stays meanwhile.
        assert mesh.coordinator_process is not None
        terminal.type("1")
        await terminal.seen("[1:methods]")
        await mesh.coordinator_process.kill()
        await terminal.seen("no ", "ProbeService/Call")
        await mesh.restart_coordinator()
        await terminal.seen("agents", "slots")
        terminal.type("q")
        assert await terminal.end() == 0


@pytest.mark.slow
async def test_the_terminal_is_as_before_after_every_way_out(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()

    async def way_out(keys: str, by: int) -> int:
        async with Terminal(mesh.target, 120) as terminal:
            lines = await terminal.seen(mesh.target, "0 agents", "no methods")
            assert max(map(len, lines)) <= 120
            if by:
                terminal.process.send_signal(by)
            else:
                terminal.type(keys)
            return await terminal.end()

    ends = [("q", 0), ("\x03", 0), ("", signal.SIGTERM), ("", signal.SIGINT), ("", signal.SIGHUP)]
    statuses = await asyncio.gather(*(way_out(keys, by) for keys, by in ends))
    assert statuses == [0, 0, 143, 130, 129]
    # Without a terminal: one picture.
    done = await weft("top", target=mesh.target)
    assert done.status == 0
    assert "0 agents" in done.out
    assert "no failures" in done.out
    assert "\x1b" not in done.out
    refusal = await weft("top", "--interval-s", "0", target=mesh.target)
    assert refusal.status == 2
