"""Containers for doubles of engines: real processes, by bubblewrap, and others in their namespaces, by nsenter. Not held: memory, cores, processes, users."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.processes import until

_PATH = "/usr/local/bin:/usr/bin:/bin"
_SYSTEM = (
    *("--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"),
    *("--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev"),
)
_ENTER = ("--user", "--preserve-credentials", "--mount", "--pid", "--net", "--ipc")


class RunningContainer:
    """One container. Its process 1 is `first`."""

    def __init__(self, first: asyncio.subprocess.Process, pid: int) -> None:
        self.first = first
        self._pid = pid
        self._entered: list[asyncio.subprocess.Process] = []

    @classmethod
    async def start(
        cls, argv: Sequence[str], variables: Mapping[str, str], sizes: Mapping[str, int]
    ) -> RunningContainer:
        """Start one.

        Args:
            sizes: bytes of the folders that can be written.
        """
        told, tells = os.pipe()
        folders = [word for path, size in sizes.items() for word in ("--size", str(size), "--tmpfs", path)]
        how = ["--unshare-all", "--die-with-parent", "--as-pid-1", "--info-fd", str(tells)]
        first = await asyncio.create_subprocess_exec(
            *("bwrap", *how, *_SYSTEM, *folders, "--remount-ro", "/", "--", *argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=[tells],
            env={"PATH": _PATH, **variables},
        )
        os.close(tells)
        with os.fdopen(told) as file:
            pid = json.loads(await asyncio.to_thread(file.read))["child-pid"]
        # Its number is told before its files are there.
        await until(lambda: _runs_its_program(pid), "the program of the container runs")
        return cls(first, pid)

    async def run(self, argv: Sequence[str], variables: Mapping[str, str]) -> asyncio.subprocess.Process:
        """A process in it."""
        made = await asyncio.create_subprocess_exec(
            *("nsenter", "--target", str(self._pid), *_ENTER, "--", *argv),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": _PATH, **variables},
        )
        self._entered = [each for each in self._entered if each.returncode is None] + [made]
        return made

    def signal_all(self, number: signal.Signals) -> None:
        """A signal to each of its processes."""
        with contextlib.suppress(OSError):
            own = Path(f"/proc/{self._pid}/ns/pid").readlink()
            for path in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    if (path / "ns" / "pid").readlink() == own:
                        os.kill(int(path.name), number)
        if number == signal.SIGCONT:
            self.go_on()

    def go_on(self) -> None:
        """After processes in it were stopped and go on."""
        # nsenter stops when what it has started is stopped.
        for each in self._entered:
            if each.returncode is None:
                # Not by its own method, which takes the status of one that has ended.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each.pid, signal.SIGCONT)

    async def end(self) -> None:
        """End it, and wait."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self.go_on()
        await self.first.wait()


def _runs_its_program(pid: int) -> bool:
    """Or has run it."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name != "bwrap"
    except OSError:
        return True
