"""The Redis store's events: a stream a topic, whose entries have the events' sequences as their ids (event_log.lua)."""

from __future__ import annotations

from collections.abc import Sequence

from weft.coordinator.store.event_store import (
    MAX_TOPICS,
    PAGE_BYTES,
    Appended,
    EventPage,
    EventRow,
    NewEventRow,
    TooManyTopics,
    TopicPage,
    TopicRecord,
)
from weft.coordinator.store.redis.redis_link import RedisLink
from weft.coordinator.store.store_config import EVENT_KEEP_BYTES


class RedisEvents:
    """The events' part of a Redis store; `RedisStore` makes the link."""

    _link: RedisLink
    max_topics = MAX_TOPICS
    event_keep_bytes = EVENT_KEEP_BYTES

    async def append_events(self, events: Sequence[NewEventRow]) -> Sequence[Appended] | TooManyTopics:
        if not events:
            return []
        request = [
            self.event_keep_bytes,
            self.max_topics,
            [(event.topic, event.body, event.id) for event in events],
        ]
        results = await self._link.run("append_events", request)
        if not results:
            return TooManyTopics(self.max_topics)
        return [Appended(sequence, bool(existed)) for sequence, existed in results]

    async def read_events(self, topic: str, after: int, *, limit: int) -> EventPage:
        first, last, rows = await self._link.run("read_events", [topic, after, limit, PAGE_BYTES])
        return EventPage(
            [EventRow(sequence, float(at), body) for sequence, at, body in rows or ()], first, last
        )

    async def event_before(self, topic: str, at: float) -> int:
        return int(await self._link.run("event_before", [topic, at]))

    async def list_topics(self, *, limit: int, cursor: str = "") -> TopicPage:
        found, more = await self._link.run("list_topics", [cursor, limit])
        topics = [
            TopicRecord(name.decode(), first, last, size_bytes, float(at))
            for name, first, last, size_bytes, at in found or ()
        ]
        return TopicPage(topics, topics[-1].name if more and topics else "")

    async def trim_events(self, topic: str, before: float, limit: int) -> int:
        return int(await self._link.run("trim_events", [topic, before, limit]))
