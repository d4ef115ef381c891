"""How an agent's attempts have ended lately, and whether they keep failing. Pure: time is passed in.

Counts fade. An agent without attempts therefore gets some again after some seconds, once its failures have faded below the
limit. `session_index` decides what a failing agent gets.
"""

from __future__ import annotations

from google.rpc import code_pb2

# Codes that tell of a fault of the agent or its handler. Other codes are answers: a caller's mistake, a limit, a cancellation,
# or a deadline, which may have been too short.
FAULTS = frozenset({code_pb2.UNKNOWN, code_pb2.INTERNAL, code_pb2.UNAVAILABLE, code_pb2.DATA_LOSS})
# After this time a count is worth half.
HALF_LIFE_S = 10.0
# An agent keeps failing from this many failures on, if they are at least this share of all ends.
LEAST_FAULTS = 3.0
LEAST_SHARE = 0.5
# Counts fade in steps of at least this time: the hot path counts and computes no powers.
_STEP_S = 0.25


class RecentFailures:
    """The ends of one agent's attempts."""

    __slots__ = ("_at_s", "_ends", "_faults", "told")

    def __init__(self) -> None:
        self._ends = 0.0
        self._faults = 0.0
        self._at_s = 0.0
        # Whether the log and the register say that the agent keeps failing.
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
