"""The breaker of a backend: after some failures in a row it is open, and the backend is not asked for a while. Pure: times are passed in.

closed ── failures in a row, or "come again later" ──► open ── its time has passed ──► one call tries
▲                                                     ▲                                │
└──────────────────── it succeeds ────────────────────┼────────────────────────────────┤
└────────── it fails ────────────┘
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(slots=True)
class Breaker:
    """
    Args:
        max_failures: so many in a row open it.
        open_s: how long it is open, in seconds.
    """

    max_failures: int
    open_s: float
    _failures: int = 0
    # None: closed.
    _open_until: float | None = None
    # Until when the call that tries has its turn: one that never ends must not keep it shut for ever.
    _tried_until: float = 0.0

    def wait_s(self, now: float) -> float:
        """How long the backend is not to be asked; 0: it may be asked. Who gets 0 asks it, and says how that went."""
        if self._open_until is None:
            return 0.0
        if now < self._open_until:
            return self._open_until - now
        if now < self._tried_until:
            return self._tried_until - now
        self._tried_until = now + self.open_s
        return 0.0

    def succeeded(self) -> None:
        self._failures, self._open_until, self._tried_until = 0, None, 0.0

    def failed(self, now: float, retry_after_s: float | None = None) -> None:
        """
        Args:
            retry_after_s: the backend has said so; it opens the breaker at once, for as long, at most ten times `open_s`.
        """
        self._failures += 1
        self._tried_until = 0.0
        if retry_after_s:
            self._open_until = now + min(retry_after_s, 10 * self.open_s)
        elif self._failures >= self.max_failures:
            self._open_until = now + self.open_s

    def left(self) -> None:
        """The call that asked was cancelled: nothing is known, and the next one may try."""
        self._tried_until = 0.0

    def is_open(self, now: float) -> bool:
        return self._open_until is not None and now < self._open_until
