"""The parent-death signal: a child process ends when its parent is killed, so that `weft up` and `weft demo` leave no process.

The parent puts its pid in the child's environment; the child asks the kernel for SIGTERM when that parent ends. Linux only:
on other systems the children of a killed parent go on.
"""

from __future__ import annotations

import os
import signal
import sys

_VARIABLE = "_WEFT_PARENT_PID"
# <sys/prctl.h>
_PR_SET_PDEATHSIG = 1


def child_environment() -> dict[str, str]:
    """Environment variables for a `weft ...` child that must end with this process.

    Start the child from a thread that lives as long as the process: to the kernel, the thread is the parent.
    """
    return {_VARIABLE: str(os.getpid())}


def obey() -> bool:
    """In a child: ask for the parent-death signal if the parent wants it. Call it once, at the start. Returns whether it does."""
    # Removed: this process' own children do not inherit it.
    parent = os.environ.pop(_VARIABLE, "")
    if not parent or sys.platform != "linux":
        return bool(parent)
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if str(os.getppid()) != parent:
        # The parent has ended already.
        os.kill(os.getpid(), signal.SIGTERM)
    return True
