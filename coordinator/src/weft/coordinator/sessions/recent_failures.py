"""How an agent's attempts have ended lately, and whether they keep failing. Pure: time is passed in.

What was counted fades, so an agent that is given nothing is tried again after some seconds: its last failures have faded by
then below what makes it one that keeps failing. What to do about such an agent is decided where it is chosen (`takers`).
"""

from __future__ import annotations

from google.rpc import code_pb2

# What speaks of the agent or its handler. The rest is an answer: a caller's mistake, a limit, a cancellation; and a deadline
# says as much of who set it.
FAULTS = frozenset({code_pb2.UNKNOWN, code_pb2.INTERNAL, code_pb2.UNAVAILABLE, code_pb2.DATA_LOSS})
# Half of what was counted is forgotten after so long.
HALF_LIFE_S = 10.0
# It keeps failing with so many failures, which are this share of all ends.
LEAST_FAULTS = 3.0
LEAST_SHARE = 0.5
# Counts fade in steps of this at the least: the hot path counts, and does no powers.
_STEP_S = 0.25


class RecentFailures:
    """One agent's ends of attempts."""

    __slots__ = ("_at_s", "_ends", "_faults", "told")

    def __init__(self) -> None:
        self._ends = 0.0
        self._faults = 0.0
        self._at_s = 0.0
        # Others have been told that it keeps failing.
        self.told = False

    def ended(self, code: int, now_s: float, *, crashed: bool = False) -> None:
        """Count the end of an attempt."""
        if now_s - self._at_s > _STEP_S:
            fade = self._fade(now_s)
            self._ends *= fade
            self._faults *= fade
            self._at_s = now_s
        self._ends += 1.0
        if crashed or code in FAULTS:
            self._faults += 1.0

    def failing(self, now_s: float) -> bool:
        """Whether its attempts keep failing."""
        if self._faults < LEAST_FAULTS or self._faults < LEAST_SHARE * self._ends:
            return False
        return self._faults * self._fade(now_s) >= LEAST_FAULTS

    def _fade(self, now_s: float) -> float:
        # Time may seem to go back by a step.
        return float(0.5 ** (max(0.0, now_s - self._at_s) / HALF_LIFE_S))
