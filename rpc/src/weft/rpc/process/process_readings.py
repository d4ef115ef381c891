"""What psutil and the cgroup say of this process, at this moment. From any thread.

A function raises where the host does not tell: a hardened container may hide /proc.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60


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
    text = _cgroup_text("cpu.max")
    if text is not None:
        quota, _, period = text.partition(" ")
        return None if quota == "max" else int(quota) / int(period or 100_000)
    old_quota = _cgroup_text("cpu/cpu.cfs_quota_us")
    if old_quota is None or int(old_quota) <= 0:
        return None
    return int(old_quota) / int(_cgroup_text("cpu/cpu.cfs_period_us") or 100_000)


def memory_limit() -> int | None:
    """Bytes that the cgroup allows; None: it sets no limit."""
    text = _cgroup_text("memory.max") or _cgroup_text("memory/memory.limit_in_bytes")
    if text is None or text == "max" or int(text) >= _NO_LIMIT:
        return None
    return int(text)


def _cgroup_text(name: str) -> str | None:
    # The file of this process' own group in a container: there the group is the root of what is mounted.
    try:
        return (_CGROUP / name).read_text().strip()
    except OSError:
        return None


@functools.cache
def _process() -> psutil.Process:
    return psutil.Process()
