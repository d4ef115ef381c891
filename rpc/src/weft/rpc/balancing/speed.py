"""Slow endpoints: their weight falls, so that few calls wait for them. Pure.

Counting calls alone does not keep calls away from an endpoint that is slow but takes them all in: of eight with one five
times slower it would still get one call in forty, enough for all of the slowest one percent. So the time that calls take
is followed, method by method, here and on the whole. Up to twice the typical time is noise.
"""

from __future__ import annotations

SHARE_OF_NEWEST = 0.5
NOISE = 2.0
LEAST = 0.05
# What is not called is not measured: what was measured counts less and less, and then it is tried again.
FADES_S = 10.0


class Pace:
    """How long calls take, as an average that follows. Failures do not count: failing is quick."""

    __slots__ = ("measured_at", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.measured_at = 0.0

    def measured(self, seconds: float, now: float, typical_s: float, share: float = SHARE_OF_NEWEST) -> None:
        """One more call ended well. The first is no more than one: before it, all are typical."""
        before = self.seconds or typical_s or seconds
        self.seconds = before + share * (seconds - before)
        self.measured_at = now

    def factor(self, now: float, typical_s: float) -> float:
        """What the endpoint's weight is multiplied with."""
        if self.seconds <= NOISE * typical_s or not typical_s:
            return 1.0
        belief = max(0.0, 1.0 - (now - self.measured_at) / FADES_S)
        believed_s = typical_s + (self.seconds - typical_s) * belief
        return min(1.0, max(LEAST, (NOISE * typical_s / believed_s) ** 2))
