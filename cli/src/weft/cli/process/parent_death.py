"""Ties the life of a child process to its parent's: a `weft up` or `weft demo` that is killed leaves nothing behind.

The parent names itself in the child's environment; the child asks the kernel for SIGTERM when that parent ends. Linux
only: elsewhere the children of a killed parent live on.
"""

from __future__ import annotations

import os
import signal
import sys

_VARIABLE = "_WEFT_PARENT_PID"
# <sys/prctl.h>
_PR_SET_PDEATHSIG = 1


def child_environment() -> dict[str, str]:
    """What to add to the environment of a `weft ...` that must not outlive this process.

    Start it from a thread that lives as long as the process: the kernel goes by the thread.
    """
    return {_VARIABLE: str(os.getpid())}


def obey() -> bool:
    """In the child: end with the parent, if it wants that. Called once, at the start; false: this is no such child."""
    # Not for what this process starts itself.
    parent = os.environ.pop(_VARIABLE, "")
    if not parent or sys.platform != "linux":
        return bool(parent)
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if str(os.getppid()) != parent:
        # It has ended already.
        os.kill(os.getpid(), signal.SIGTERM)
    return True
