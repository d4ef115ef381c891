"""Notices a blocked event loop, and logs the running handlers: an `async def` that computes or calls blocking code
stops all others. It is checked with each heartbeat, which the watchdog sends while the loop is blocked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

from weft.rpc.process.logs import get_logger

_log = get_logger("weft.agent")

# Shorter blocks are ordinary.
BLOCKED_S = 2.0
# A ping waits for less where nothing blocks the loop.
SLOW_S = 0.3
_NAMED = 3


class BlockedLoopWatch:
    """Pings the loop and watches how long it takes to answer.

    Args:
        running: full names of the async methods whose handlers run now, from any thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, running: Callable[[], Iterable[str]]) -> None:
        self._loop = loop
        self._running = running
        self._pinged_at: float | None = None
        self._told = False

    def look(self, now_s: float) -> None:
        """Ping, or check how long the last ping has been waiting. Call it from one thread, about every second."""
        if self._pinged_at is None:
            self._pinged_at = now_s
            self._told = False
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:
                return
        elif not self._told and now_s - self._pinged_at >= BLOCKED_S:
            self._told = True
            named = [name for name, _ in Counter(self._running()).most_common(_NAMED)]
            _log.warning(
                "loop.blocked",
                blocked_s=round(now_s - self._pinged_at, 1),
                methods=named,
                effect="nothing async runs here until the event loop is free",
                do="make the handler a plain `def` (it then runs in a thread), or isolate=True",
            )

    def blocked_s(self, now_s: float) -> float:
        """For how long the loop has not answered; 0: it answers. From any thread."""
        pinged_at = self._pinged_at
        waited_s = 0.0 if pinged_at is None else now_s - pinged_at
        return waited_s if waited_s >= SLOW_S else 0.0

    def _answer(self) -> None:
        self._pinged_at = None
