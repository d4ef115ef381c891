"""What psutil and the cgroup say of this process, at this moment. From any thread.

A function raises where the host does not tell: a hardened container may hide /proc.
"""

from __future__ import annotations

import functools
import os

import psutil

from weft.rpc.process.own_cgroup import OwnCgroup

_CGROUP = OwnCgroup()


def cpu_times() -> tuple[float, float]:
    """CPU time of this process, in seconds: its own, and the system's for it."""
    times = _process().cpu_times()
    return times.user, times.system


def memory() -> int:
    """Resident memory of this process, in bytes."""
    return _process().memory_info().rss


def open_files() -> int:
    """Open files and sockets of this process."""
    return _process().num_fds() if os.name == "posix" else len(_process().open_files())


def threads() -> int:
    return _process().num_threads()


def cpu_limit() -> float | None:
    """Cores that the cgroup allows; None: it sets no limit."""
    return _CGROUP.cpu_limit()


def memory_limit() -> int | None:
    """Bytes that the cgroup allows; None: it sets no limit."""
    return _CGROUP.memory_limit()


def throttled_s() -> float | None:
    """How long the cgroup kept the process from running because it had used its cores; None: not known."""
    return _CGROUP.throttled_s()


@functools.cache
def _process() -> psutil.Process:
    return psutil.Process()
