"""The one account of an agent's slots, for durable attempts and direct calls together.

A durable attempt waits for its slots; a direct call is refused when it cannot have them at once. What waits comes first:
while an attempt waits, no direct call gets a slot, or a dear method could wait for ever.

Changed on the application's event loop alone, where all calls begin and end; read from any thread.
"""

from __future__ import annotations

from collections.abc import Callable


class Slots:
    """How many slots there are, and who has them.

    Args:
        total: the agent's capacity.
    """

    __slots__ = ("_on_direct_end", "direct", "direct_open", "durable", "total", "waiting")

    def __init__(self, total: int) -> None:
        self.total = total
        # Slots that running attempts have, and those that direct calls have.
        self.durable = 0
        self.direct = 0
        # Attempts that wait for a slot; the executor's.
        self.waiting = 0
        # Whether direct calls are taken at all: not while the agent drains.
        self.direct_open = True
        self._on_direct_end: Callable[[], None] | None = None

    @property
    def used(self) -> int:
        """Slots that are taken."""
        return self.durable + self.direct

    def on_direct_end(self, call: Callable[[], None]) -> None:
        """Call this after each end of a direct call."""
        self._on_direct_end = call

    def take(self, cost: int) -> bool:
        """Take slots for an attempt; False: there are not so many free."""
        if self.durable + self.direct + cost > self.total:
            return False
        self.durable += cost
        return True

    def give(self, cost: int) -> None:
        """An attempt's handler is gone."""
        self.durable -= cost

    def take_direct(self, cost: int) -> bool:
        """Take slots for a direct call; False: it is to be refused."""
        if not self.direct_open or self.waiting or self.durable + self.direct + cost > self.total:
            return False
        self.direct += cost
        return True

    def give_direct(self, cost: int) -> None:
        """A direct call's handler is gone."""
        self.direct -= cost
        if self._on_direct_end is not None:
            self._on_direct_end()
