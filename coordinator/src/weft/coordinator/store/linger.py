"""Linger: a change without a waiting caller is held for a moment, so that it is written together with the next ones.

The embedded journal holds a new task for its end: one commit in place of two for a short call. The Redis store's write
buffer does the same: one script in place of three.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# The longest time that a change waits for others, about.
LINGER_S = 0.01


def is_due(since_s: float, now_s: float) -> bool:
    """Whether a change that has waited since then must be written now."""
    return now_s - since_s >= LINGER_S


def next_flush_s(oldest_since_s: float, flushed_at_s: float) -> float:
    """When to write next, by the age of the oldest change; soon after another flush a little later, with more of them."""
    return max(oldest_since_s + LINGER_S, flushed_at_s + LINGER_S / 2)


class LingerTimer:
    """Flushes once the oldest waiting change is due.

    Args:
        flush: writes the changes that are due at the given time of the loop. Returns since when the oldest of the
            others has waited; None if there are none.
    """

    def __init__(self, flush: Callable[[float], float | None]) -> None:
        self._flush = flush
        self._timer: asyncio.TimerHandle | None = None
        self._flushed_at_s = float("-inf")

    def start(self) -> None:
        """A change begins to wait. Does nothing if an older one waits already."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._schedule(loop, loop.time())

    def cancel(self) -> None:
        """Nothing waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self, loop: asyncio.AbstractEventLoop, oldest_since_s: float) -> None:
        self._timer = loop.call_at(next_flush_s(oldest_since_s, self._flushed_at_s), self._fire)

    def _fire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        self._flushed_at_s = loop.time()
        oldest_since_s = self._flush(self._flushed_at_s)
        if oldest_since_s is not None and self._timer is None:
            self._schedule(loop, oldest_since_s)
