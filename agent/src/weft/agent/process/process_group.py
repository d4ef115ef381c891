"""A process and all that it starts, as one group that is killed as a whole.

A process that leaves the group on purpose, as a daemon does, is not killed with it.
"""

from __future__ import annotations

import contextlib
import os
import signal


def lead() -> None:
    """Make this process the leader of a session, and so of a group, of its own. Terminals do not reach it."""
    if hasattr(os, "setsid"):
        os.setsid()


def kill(leader_pid: int) -> None:
    """SIGKILL a leader and its group. Nothing happens when it does not lead one yet.

    The leader may have ended, but should not have been waited for: its number could be another's.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(leader_pid, signal.SIGKILL)


def kill_own() -> None:
    """As `kill`, of the group that this process leads."""
    kill(os.getpid())
