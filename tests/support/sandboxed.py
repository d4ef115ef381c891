"""Programs in sandboxes, for tests: run to their end, and what a machine has of sandboxes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.support.foreign_tools import missing
from weft.agent.sandboxing.control_group import group_parent
from weft.agent.sandboxing.sandbox import Sandbox
from weft.agent.sandboxing.sandbox_process import start

END_S = 30.0


class Ran(NamedTuple):
    """How a program has ended."""

    code: int
    output: str
    # How often the kernel ended a process for its memory.
    killed_for_memory: int
    ended_for: str


def need_bubblewrap() -> None:
    """Skips the test where bubblewrap is not, and fails it in CI."""
    if not shutil.which("bwrap"):
        missing("bubblewrap is not installed (Debian: apt install bubblewrap)")


def python_in(sandbox_readable: tuple[str, ...] = ()) -> tuple[list[str], tuple[str, ...]]:
    """How Python is run in a sandbox, and what it must be able to read."""
    if os.access("/usr/bin/python3", os.X_OK):
        return ["/usr/bin/python3", "-I", "-S", "-c"], sandbox_readable
    executable = os.path.realpath(sys.executable)
    return [executable, "-I", "-S", "-c"], (*sandbox_readable, sys.base_prefix)


def run_in(sandbox: Sandbox, *argv: str, timeout_s: float = END_S) -> Ran:
    """Run a program in a sandbox to its end, and remove the sandbox."""
    read, write = os.pipe()
    process = start(sandbox, argv, stdout=write, stderr=subprocess.STDOUT)
    os.close(write)
    try:
        with os.fdopen(read, "rb") as file:
            # Ends when all processes in it have ended.
            output = file.read(1 << 20).decode(errors="replace")
        code = process.wait(timeout_s)
        killed = process.group.killed_for_memory() if process.group is not None else 0
        return Ran(code, output, killed, process.ended_for)
    finally:
        process.close()


def run_code(code: str, timeout_s: float = END_S, **limits: object) -> Ran:
    """As `run_in`, with lines of Python."""
    python, readable = python_in(tuple(limits.pop("readable", ())))  # type: ignore[arg-type]
    return run_in(Sandbox(readable=readable, **limits), *python, code, timeout_s=timeout_s)  # type: ignore[arg-type]


def traces(marker: str) -> list[str]:
    """What this machine has of sandboxes whose programs have the marker in their command: processes, and groups and mounts of this process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if marker.encode() in line and int(path.parent.name) != os.getpid():
            found.append(f"process {path.parent.name}: {line[:200]!r}")
    parent = group_parent(os.getpid())
    if parent is not None:
        found += [f"group {each}" for each in parent.left()]
    return found + mounts_of_sandboxes()


def mounts_of_sandboxes() -> list[str]:
    """Mounts of sandboxes that this process sees: there should never be one."""
    path = Path("/proc/self/mountinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if " weft " in line or "/newroot" in line]


def wait_gone(left: Callable[[], list[str]], within_s: float = 10.0) -> None:
    """Wait until a machine has nothing left: the kernel takes a moment."""
    ends_at_s = time.monotonic() + within_s
    while found := left():
        assert time.monotonic() < ends_at_s, found
        time.sleep(0.02)


def groups_of(agent_pid: int) -> list[str]:
    """The control groups that an agent has made for sandboxes."""
    while True:
        # Others come and go meanwhile.
        with contextlib.suppress(FileNotFoundError):
            return [str(each) for each in Path("/sys/fs/cgroup").rglob(f"weft-sandboxes-{agent_pid}-*")]
