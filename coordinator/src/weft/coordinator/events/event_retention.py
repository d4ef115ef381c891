"""Drops events whose time is over, in a part of each pass of the sweeper. A coordinator that knows of no topic asks for nothing."""

from __future__ import annotations

from weft.coordinator.store.base import Store
from weft.coordinator.store.event_store import topic_of

# How often it looks, and how many events it drops at a time.
EVERY_S = 30.0
TRIM_EVENTS = 5000
_PAGE_TOPICS = 1000


class EventRetention:
    """Drops old events.

    Args:
        keep_s: how long events are kept.
    """

    def __init__(self, store: Store, keep_s: float) -> None:
        self._store = store
        self._keep_s = keep_s
        # At first there may be topics.
        self._has_topics = True
        # By the monotonic clock.
        self._look_at_s = 0.0

    def rows_changed(self, kind: str) -> None:
        """Something in the store has changed: perhaps a topic."""
        if not self._has_topics and topic_of(kind):
            self._has_topics = True

    async def run_once(self, now_s: float) -> None:
        """Look, if it is time for that.

        Args:
            now_s: by the monotonic clock.
        """
        if not self._has_topics or now_s < self._look_at_s:
            return
        before = self._store.now() - self._keep_s
        cursor, full, found = "", False, False
        while True:
            page = await self._store.list_topics(limit=_PAGE_TOPICS, cursor=cursor)
            for topic in page.topics:
                found = True
                if topic.first <= topic.last:
                    full |= await self._store.trim_events(topic.name, before, TRIM_EVENTS) == TRIM_EVENTS
            if not (cursor := page.cursor):
                break
        self._has_topics = found
        # Soon again, if there is more to drop.
        self._look_at_s = now_s if full else now_s + min(EVERY_S, self._keep_s / 4)
