"""What `weft` does where it is the first process, as in a container: it starts itself as a child, and attends to that.

The kernel expects of process 1 that it waits for every orphan, and gives it no default for signals. Agents and coordinators
wait for children of their own, whose statuses nobody else may take. So the two are apart: this process forwards signals
and waits for whatever ends; its child is the command.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection

# Faults of the process itself, what cannot be had, and what a terminal sends to those in the background.
_OWN = (
    "SIGKILL",
    "SIGSTOP",
    "SIGSEGV",
    "SIGBUS",
    "SIGFPE",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGSYS",
    "SIGTTIN",
    "SIGTTOU",
)
_FIRST = 1


def become_child() -> None:
    """Returns in the process that is to be the command. The first process never comes back, and ends with its status."""
    if os.getpid() != _FIRST:
        return
    signals = signal.valid_signals() - {getattr(signal, name) for name in _OWN if hasattr(signal, name)}
    # Before the child is there: none may be missed.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    child = os.fork()
    if child == 0:
        _take_terminal()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os._exit(_status_of(child, signals))


def _take_terminal() -> None:
    """Lead a group of its own, in the foreground: Ctrl-C comes once, not from the terminal and from process 1 as well."""
    os.setpgid(0, 0)
    with contextlib.suppress(OSError):
        held = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            os.tcsetpgrp(0, os.getpgrp())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _status_of(child: int, signals: Collection[int]) -> int:
    """Forward signals and wait for all that ends, until the child does; its exit status, as a shell tells it."""
    while True:
        number = signal.sigwait(signals)
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)
            continue
        for pid, status in iter(_ended, None):
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code


def _ended() -> tuple[int, int] | None:
    """A child, its own or an orphan, that has ended; None: there is none."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None
