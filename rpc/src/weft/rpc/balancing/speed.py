"""Slow endpoints: their weight falls, so that they get few calls. Pure.

Least outstanding calls alone are not enough: of eight endpoints, one that is five times slower would still get one call in
forty. These calls alone would be the slowest one percent. So the duration of calls is measured for each method, at each
endpoint and over all endpoints. Up to twice the typical time counts as noise, and so do a few milliseconds: a process waits as long
for its turn on a busy machine.
"""

from __future__ import annotations

SHARE_OF_NEWEST = 0.5
NOISE = 2.0
NOISE_S = 0.005
LEAST = 0.05
# A measurement counts less with time, and not at all after this. Otherwise a slow endpoint without calls would stay slow for ever.
FADES_S = 10.0


class Pace:
    """How long calls take, as a moving average. Failures do not count: they are often quick."""

    __slots__ = ("measured_at", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.measured_at = 0.0

    def measured(self, seconds: float, now: float, typical_s: float, share: float = SHARE_OF_NEWEST) -> None:
        """Count a call that succeeded. The first one is averaged with the typical time."""
        before = self.seconds or typical_s or seconds
        self.seconds = before + share * (seconds - before)
        self.measured_at = now

    def factor(self, now: float, typical_s: float) -> float:
        """The factor of the endpoint's weight."""
        noise_s = max(NOISE * typical_s, typical_s + NOISE_S)
        if self.seconds <= noise_s or not typical_s:
            return 1.0
        belief = max(0.0, 1.0 - (now - self.measured_at) / FADES_S)
        believed_s = typical_s + (self.seconds - typical_s) * belief
        return min(1.0, max(LEAST, (noise_s / believed_s) ** 2))
