"""Which of weft's own topics somebody follows: others are not published.

A row a topic, with the time until which it is wanted. The coordinator that has a subscriber puts it off again and again; all coordinators
read the rows when they have changed. What nobody follows costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from weft.coordinator.events.event_types import is_own
from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import RowPut, every_row

KIND = "event-interest"
# A topic is published for so long after its last subscriber has gone: one that comes back misses nothing.
KEPT_S = 120.0


class TopicInterest:
    """The topics that are wanted.

    Args:
        followed: the topics that have subscribers here.
        changed: called when other topics may be wanted than before.
    """

    def __init__(
        self, store: Store, followed: Callable[[], Iterable[str]], changed: Callable[[], None]
    ) -> None:
        self._store = store
        self._followed = followed
        self._changed = changed
        self._until: dict[str, float] = {}
        # Read at the beginning: a coordinator that comes back goes on.
        self._stale = True
        self._looked_at_s = 0.0

    def wants(self, topic: str) -> bool:
        """Whether somebody follows a topic."""
        return bool(self._until) and self._until.get(topic, 0.0) > self._store.now()

    def rows_changed(self, kind: str) -> bool:
        """Some coordinator has changed rows of a kind. True: `keep_house` is to look at them soon."""
        if kind == KIND:
            self._stale = True
        return kind == KIND

    async def begin(self, topic: str) -> None:
        """A subscriber begins here. From now on what this coordinator sees is published.

        Raises:
            Unavailable: the store cannot be written.
        """
        if is_own(topic) and self._until.get(topic, 0.0) - self._store.now() < KEPT_S / 2:
            await self._put_off(topic)

    async def keep_house(self, now_s: float) -> None:
        """Put off what is followed here, and take in what others follow. Nothing happens if nobody follows anything.

        Args:
            now_s: by the monotonic clock.
        """
        if self._stale:
            self._stale = False
            try:
                rows = [row async for row in every_row(self._store, KIND)]
            except BaseException:
                self._stale = True
                raise
            self._until |= {row.key: float(row.value) for row in rows}
            self._changed()
        if self._until and now_s - self._looked_at_s > KEPT_S / 8:
            self._looked_at_s = now_s
            for topic in list(self._followed()):
                await self.begin(topic)

    async def _put_off(self, topic: str) -> None:
        until = self._store.now() + KEPT_S
        await self._store.put_rows([RowPut(KIND, topic, repr(until).encode())])
        self._until[topic] = until
        self._changed()
