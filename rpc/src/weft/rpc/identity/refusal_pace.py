"""How fast a door answers calls whose proof is wrong. Pure: time is passed in.

Who guesses tokens calls again as soon as it is refused. Each refusal costs about as much as a call that is served, so many are answered later: in
a line, with room for honest callers whose token has ended.
"""

from __future__ import annotations

# Refusals that are answered at once, and then in a second.
BURST = 100
RATE_PER_S = 200.0
# No refusal waits longer. Those that come when so many wait already do not wait: each keeps its call.
MOST_S = 5.0
MOST_WAITING = 4096


class RefusalPace:
    """The line of one door."""

    def __init__(self) -> None:
        # When the line is empty, if nobody joins it.
        self._empty_at_s = 0.0

    def delay_s(self, now_s: float) -> float:
        """How long the next refusal waits; it joins the line."""
        empty_at_s = max(self._empty_at_s, now_s)
        delay_s = empty_at_s - now_s - BURST / RATE_PER_S
        if delay_s >= MOST_S:
            return MOST_S
        self._empty_at_s = empty_at_s + 1 / RATE_PER_S
        return max(0.0, delay_s)
