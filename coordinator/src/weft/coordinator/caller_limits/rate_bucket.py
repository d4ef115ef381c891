"""A bucket of a rate: what comes in a second may come at once, and then as the bucket fills. Pure: time is passed in.

A bucket may be overdrawn: the size of a response is known only when it is there. What is missing must come in first.
"""

from __future__ import annotations

# A wait is longer by so much: sums of floats are not exact, and what is waited for must be there when the wait ends.
_TICK_S = 1e-6


class RateBucket:
    """A bucket, full at first.

    Args:
        rate: what comes in each second.
    """

    __slots__ = ("_at_s", "_left", "rate", "size")

    def __init__(self, rate: float, now_s: float) -> None:
        self.rate = rate
        # A call is 1: it must fit.
        self.size = max(1.0, rate)
        self._left = self.size
        self._at_s = now_s

    def left(self, now_s: float) -> float:
        """What is in it now; negative: it is overdrawn."""
        if now_s > self._at_s:
            self._left = min(self.size, self._left + (now_s - self._at_s) * self.rate)
            self._at_s = now_s
        return self._left

    def take(self, amount: float, now_s: float) -> None:
        """Take an amount, whether it is there or not."""
        self._left = self.left(now_s) - amount

    def take_some(self, most: int, now_s: float) -> int:
        """Take as many whole ones as are there, at most so many; returns their number."""
        count = max(0, min(most, int(self.left(now_s) + _TICK_S)))
        self._left -= count
        return count

    def wait_s(self, amount: float, now_s: float) -> float:
        """How long it takes until an amount is there. 0: it is."""
        missing = min(amount, self.size) - self.left(now_s)
        return missing / self.rate + _TICK_S if missing > _TICK_S else 0.0
