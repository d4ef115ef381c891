"""What a coordinator knows of Redis' ready queues: their depths, and of long ones how many tasks each priority has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from weft.coordinator.store.redis.encoding import queue_key
from weft.coordinator.store.rules import HIGHEST_PRIORITY, QueueKey

# A queue with as many ready tasks is long: a look tells them by priority, too.
LONG_QUEUE = 32


class ReadyDepths(dict[QueueKey, int]):
    """Ready tasks by queue. Replies and events keep it, looks correct it."""

    def __init__(self) -> None:
        super().__init__()
        # Of long queues: ready tasks by rank, as of the last look.
        self._ranks: dict[QueueKey, Sequence[int]] = {}

    def set(self, depths: Iterable[tuple[bytes, int]]) -> None:
        """The depths of queues that a script has touched."""
        for name, count in depths:
            key = queue_key(name.decode())
            if count:
                self[key] = count
            else:
                self.pop(key, None)

    def looked(
        self, found: Mapping[QueueKey, int], ranks: Mapping[QueueKey, Sequence[int]], *, anew: bool
    ) -> None:
        """Take what a look has told.

        Args:
            found: queues that have changed since the last look.
            ranks: of the long ones among them.
            anew: it told all queues.
        """
        if anew:
            self.clear()
        self.update(found)
        if self._ranks:
            kept = self._ranks.items()
            self._ranks = {key: each for key, each in kept if key in self and key not in found}
        self._ranks.update(ranks)

    def ahead(self, queue: QueueKey, priority: int) -> int:
        """Ready tasks of a queue without those of a lower priority, of which a look told: they hardly change while better ones wait."""
        count = self.get(queue, 0)
        ranks = self._ranks.get(queue) if count else None
        return max(0, count - sum(ranks[HIGHEST_PRIORITY - priority + 1 :])) if ranks else count
