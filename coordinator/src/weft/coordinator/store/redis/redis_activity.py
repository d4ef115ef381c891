"""When a coordinator last asked its Redis for work, and when that last answered: how often it polls follows from it. Time is passed in."""

from __future__ import annotations

# Scripts that run without any work.
_WITHOUT_WORK = frozenset({"look", "sweep", "agents", "catalogue", "limits", "fence"})
# If no other one has run for so long, polls are this rare, on average. Events tell of changes at once; a poll finds those that were lost.
RESTS_AFTER_S = 5.0
RESTING_POLL_S = 2.0


class RedisActivity:
    """The last question, and the last answer, by the monotonic clock.

    Args:
        poll_s: mean interval between two polls while there is work.
    """

    def __init__(self, poll_s: float, now_s: float) -> None:
        self._poll_s = poll_s
        self._worked_at_s = now_s
        self.answered_at_s = now_s

    def asks(self, what: str, now_s: float) -> None:
        """Redis is asked.

        Args:
            what: the script, or the kind of read.
        """
        if what not in _WITHOUT_WORK:
            self._worked_at_s = now_s

    def poll_s(self, now_s: float, *, pending: bool) -> float:
        """The mean interval to the next poll.

        Args:
            pending: there are unfinished tasks, or something is to be found.
        """
        if pending or now_s - self._worked_at_s <= RESTS_AFTER_S:
            return self._poll_s
        return max(self._poll_s, RESTING_POLL_S)
