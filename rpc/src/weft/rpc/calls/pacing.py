"""Pacing: a least gap between the messages of one stream while many items are in flight on it. Pure.

A message costs both ends some hundred microseconds, an item in it about one. Under load, a stream that sends each item at
once spends all its time on messages, falls behind, and never catches up: queued messages can no longer be joined. With the
gap, a busy stream sends at most 500 messages a second, and each carries the items that came meanwhile. A stream with few
items in flight never waits: hardly any item would come that could join the message.
"""

from __future__ import annotations

LEAST_GAP_S = 0.002
# With so many items in flight, or fewer, each message is sent at once.
FEW_ITEMS = 8


class Pacer:
    """Spaces the messages of one stream, one direction. Time is passed in, by the monotonic clock."""

    __slots__ = ("_sent_at_s",)

    def __init__(self) -> None:
        self._sent_at_s = float("-inf")

    def wait_s(self, under_way: int, now_s: float) -> float:
        """How long the next message must wait, in seconds. 0: send it now.

        Args:
            under_way: the items that were sent and not answered, plus the items that wait to be sent.
        """
        if under_way <= FEW_ITEMS:
            return 0.0
        return max(0.0, self._sent_at_s + LEAST_GAP_S - now_s)

    def sent(self, now_s: float) -> None:
        """Note that a message was sent. Not called for a full message: the next one need not wait for more items."""
        self._sent_at_s = now_s
