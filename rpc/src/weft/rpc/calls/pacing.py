"""Pacing: a least gap between the messages of one stream while many items are under way on it. Pure.

A message costs both ends some hundred microseconds, an item in it about one. Under load a stream that sends each item as
it comes spends all time on messages, falls behind, and never catches up: the backlog waits as messages, which cannot be
joined any more. With the gap a busy stream sends 500 messages a second at the most, which carry what has come meanwhile.
A stream with few items under way never waits: nothing would come that could go along.
"""

from __future__ import annotations

LEAST_GAP_S = 0.002
# With so many items under way, or fewer, every message goes out at once.
FEW_ITEMS = 8


class Pacer:
    """Spaces the messages of one stream, one direction. Time is passed in, by the monotonic clock."""

    __slots__ = ("_sent_at_s",)

    def __init__(self) -> None:
        self._sent_at_s = float("-inf")

    def wait_s(self, under_way: int, now_s: float) -> float:
        """How long the next message must wait; 0: not at all.

        Args:
            under_way: items that were sent and not answered, and those that wait to be sent.
        """
        if under_way <= FEW_ITEMS:
            return 0.0
        return max(0.0, self._sent_at_s + LEAST_GAP_S - now_s)

    def sent(self, now_s: float) -> None:
        """A message went out. Not to be told of full ones: the next one need not wait for more."""
        self._sent_at_s = now_s
