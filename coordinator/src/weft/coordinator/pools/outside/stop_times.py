"""Stops that need two steps: a signal to end, and when the grace is over, an end by force. The provider is asked to stop a member again and again
until it has ended."""

from __future__ import annotations

import time

MAX_KEPT = 4096


class StopTimes:
    """When members are to be ended by force, as far as this process has asked them to end."""

    def __init__(self) -> None:
        self._kill_at: dict[str, float] = {}

    def first(self, member_id: str, grace_s: float) -> bool:
        """Whether this is the first time that the member is to end."""
        if member_id in self._kill_at:
            return False
        if len(self._kill_at) >= MAX_KEPT:
            self._kill_at.clear()
        self._kill_at[member_id] = time.monotonic() + grace_s
        return True

    def over(self, member_id: str) -> bool:
        """Whether its grace is over."""
        return time.monotonic() >= self._kill_at.get(member_id, float("inf"))

    def forget(self, member_id: str) -> None:
        self._kill_at.pop(member_id, None)
