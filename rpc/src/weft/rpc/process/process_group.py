"""A process and its child processes, as one group that is killed as a whole. Windows has no such groups: there the process alone is killed.

A process that leaves the group on purpose, as a daemon does, is not killed with it.
"""

from __future__ import annotations

import contextlib
import os
import signal


def lead() -> None:
    """Make this process the leader of a session, and so of a group, of its own. Terminals do not reach it."""
    if hasattr(os, "setsid") and os.getsid(0) != os.getpid():
        os.setsid()


def kill(leader_pid: int) -> None:
    """SIGKILL a leader and its group. Does nothing if the process does not lead a group yet, and on Windows.

    The leader may have ended, but no `wait` may have reaped it: the system could give its number to another process.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(leader_pid, signal.SIGKILL)


def kill_own() -> None:
    """As `kill`, of the group that this process leads."""
    kill(os.getpid())
