"""What psutil and the cgroup say of this process, at this moment. From any thread.

A function raises where the host does not tell: a hardened container may hide /proc.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import NamedTuple

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


def cgroup_memory() -> int | None:
    """Bytes that the cgroup uses, without files that can be dropped; None: not known."""
    return _CGROUP.used_memory()


def memory_kills() -> int | None:
    """How often something in the cgroup was killed for want of memory; None: not known."""
    return _CGROUP.memory_kills()


class ChildReading(NamedTuple):
    """A process below this one."""

    process_id: int
    parent_id: int
    name: str
    state: str
    cpu_s: float
    memory_bytes: int
    age_s: float


def children(most: int) -> list[ChildReading]:
    """The processes below this one, the oldest first. Empty where the host does not tell."""
    found: list[ChildReading] = []
    try:
        below = psutil.Process().children(recursive=True)
    except (psutil.Error, OSError):
        return []
    now = time.time()
    for child in below[:most]:
        # One may have ended meanwhile.
        with contextlib.suppress(psutil.Error, OSError), child.oneshot():
            times = child.cpu_times()
            found.append(
                ChildReading(
                    child.pid,
                    child.ppid(),
                    child.name(),
                    child.status(),
                    times.user + times.system,
                    child.memory_info().rss,
                    max(0.0, now - child.create_time()),
                )
            )
    return sorted(found, key=lambda each: -each.age_s)


@functools.cache
def _process() -> psutil.Process:
    return psutil.Process()
