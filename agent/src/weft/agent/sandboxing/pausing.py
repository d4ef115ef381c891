"""Stops all processes of a sandbox where they are, and lets them go on.

By signals, and not by the freezer of control groups: of version 1, it holds back the kill of a process, too, and a frozen sandbox would outlive its agent. Nothing in the sandbox can undo it, as nothing in it runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from weft.agent.sandboxing.sandbox_process import SandboxProcess

# Each round stops those that were started meanwhile.
_ROUNDS = 100


def pause_processes(process: SandboxProcess, *, but_first: bool = False) -> None:
    """Stop all of them: one after the other, until a look finds no new ones.

    Args:
        but_first: its first process goes on.
    """
    stopped: set[int] = set()
    if but_first:
        stopped.add(process.process_id)
        _send(stopped, signal.SIGCONT)
    for _ in range(_ROUNDS):
        found = set(_processes(process)) - stopped
        if not found:
            return
        _send(found, signal.SIGSTOP)
        stopped |= found


def resume_processes(process: SandboxProcess) -> None:
    """Let all of them go on."""
    _send(set(_processes(process)), signal.SIGCONT)


def _processes(process: SandboxProcess) -> list[int]:
    if process.group is not None:
        return process.group.processes()
    found, first = [], [process.process_id]
    while first:
        parent = first.pop()
        found.append(parent)
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                first += [int(each) for each in path.read_text().split()]
    return found


def _send(processes: set[int], number: int) -> None:
    for each in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(each, number)
