"""weft as process 1 of a container: the first process forks, the child runs the command, the parent reaps orphans.

Process 1 must wait for every orphan, and signals have no default action in it. Agents and coordinators wait for their own
children and need their statuses. So the jobs are in two processes: the first process forwards signals and reaps; its child is
the command.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection

# Signals that are not forwarded: faults, signals that cannot be blocked, and a terminal's signals to background processes.
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
    """In process 1: fork. Returns in the child; the first process ends with the child's status. Elsewhere: do nothing."""
    if os.getpid() != _FIRST:
        return
    signals = signal.valid_signals() - {getattr(signal, name) for name in _OWN if hasattr(signal, name)}
    # Blocked before the fork, so that no signal is missed.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    child = os.fork()
    if child == 0:
        _take_terminal()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    os._exit(_status_of(child, signals))


def _take_terminal() -> None:
    """Become the foreground process group, so that Ctrl-C arrives once: from the terminal, not from process 1 as well."""
    os.setpgid(0, 0)
    with contextlib.suppress(OSError):
        held = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            os.tcsetpgrp(0, os.getpgrp())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _status_of(child: int, signals: Collection[int]) -> int:
    """Forward signals and reap processes until the child ends. Returns its exit status in the form of a shell."""
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
    """The pid and status of a child or orphan that has ended, or None."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, status) if pid else None
