"""The open files of a process: their limit, and how many of them may be connections."""

from __future__ import annotations

import contextlib

# Descriptors that are kept for the store, logs and outgoing connections. Of a small limit, a quarter.
KEPT = 512


def limit() -> int | None:
    """How many files this process may open. None: there is no limit."""
    try:
        import resource
    except ImportError:
        # Not on Windows.
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> None:
    """Let this process open as many files as the system allows it: the soft limit is often 1024, for the sake of `select`."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Some systems allow less than they say: the limit stays then.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections(most: int | None) -> int | None:
    """How many connections a server may have, of so many open files, so that a flood of them leaves the store its own. Pure."""
    return None if most is None else max(1, most - min(KEPT, most // 4))
