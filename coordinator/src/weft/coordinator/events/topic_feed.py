"""The last events of a topic in memory, for its subscribers at this coordinator.

    store ─► news of the topic ─► one read of what is new ─► the feed ─► each subscriber, from its own position

A topic without subscribers has no feed. Each event is read once for all subscribers, and each has a position and no queue: so a slow one
costs nothing. When its position is not in the feed any more, it reads from the store, or (`keep_up`) leaves events out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from functools import cached_property
from typing import NamedTuple

from weft.coordinator.events.event_codec import SentEvent, sent
from weft.coordinator.store.base import Store
from weft.coordinator.store.event_store import MAX_EVENTS, topic_of
from weft.rpc import refusals
from weft.rpc.errors import Unavailable, WeftError

# Kept of a topic; at times twice as much.
FEED_EVENTS = 8192
FEED_BYTES = 8 * 1024 * 1024
# Events and bytes in one portion for a subscriber: it must fit a message.
PORTION_EVENTS = 4096
PORTION_BYTES = 1024 * 1024
# A sequence that no topic reaches.
_FAR = 2**62
# After a failed read.
_RETRY_S = 0.5


class EventBatch(list[SentEvent]):
    """Some events, in order. Subscribers at the same position share one, and so its wire form."""

    @cached_property
    def wire(self) -> bytes:
        """Their part of a `SubscribeEventsResponse`."""
        return b"".join([event.wire for event in self])


class Portion(NamedTuple):
    """Some events for a subscriber, its position after them, and how many are left out before them."""

    events: EventBatch
    position: int
    missed: int


class TopicFeed:
    """The feed of one topic. `await begin()` before anything else."""

    def __init__(self, store: Store, topic: str) -> None:
        self._store = store
        self.topic = topic
        # The last sequence that is known here.
        self.last = 0
        self.subscribers = 0
        self.error: WeftError | None = None
        self._events: list[SentEvent] = []
        self._size_bytes = 0
        # What was taken last: after which position, and up to which event there was.
        self._taken_at = (0, 0)
        self._batch = EventBatch()
        self._news = asyncio.Event()
        self._stale = False
        self._reading: asyncio.Task[None] | None = None
        self._beginning = asyncio.Lock()
        self._begun = False

    async def begin(self) -> None:
        """Find the topic's last event: the feed has later ones."""
        async with self._beginning:
            if not self._begun:
                self.last = (await self._store.read_events(self.topic, _FAR, limit=1)).last
                self._begun = True
                if self._stale:
                    self.changed()

    @property
    def _base(self) -> int:
        """The sequence before the first event that is kept here."""
        return self.last - len(self._events)

    def changed(self) -> None:
        """There may be new events."""
        self._stale = True
        if self._begun and self._reading is None and self.error is None:
            self._reading = asyncio.get_running_loop().create_task(self._read(), name=f"events {self.topic}")

    async def after(self, position: int, *, keep_up: bool) -> Portion:
        """The next events after a position; waits until there are some.

        Raises:
            WeftError: the feed is closed, or the store cannot be read.
        """
        missed = 0
        while True:
            if self.error is not None:
                raise self.error
            news = self._news
            if position >= self.last:
                await news.wait()
            elif position >= self._base:
                return self._taken(position, missed)
            elif keep_up:
                missed += self._base - position
                position = self._base
            else:
                page = await self._store.read_events(self.topic, position, limit=MAX_EVENTS)
                if not page.rows:
                    self._check_whole(page.last)
                    # All of them were dropped meanwhile.
                    missed += page.first - 1 - position
                    position = page.first - 1
                    continue
                found = EventBatch(sent(self.topic, row) for row in page.rows)
                missed += found[0].sequence - 1 - position
                return Portion(found, found[-1].sequence, missed)

    def _taken(self, position: int, missed: int) -> Portion:
        # Most subscribers are at the same place at the same time.
        if self._taken_at != (position, self.last):
            self._batch, self._taken_at = self._batch_after(position), (position, self.last)
        return Portion(self._batch, position + len(self._batch), missed)

    def _batch_after(self, position: int) -> EventBatch:
        start = position - self._base
        taken = EventBatch()
        size_bytes = 0
        for event in self._events[start : start + PORTION_EVENTS]:
            size_bytes += len(event.wire)
            if taken and size_bytes > PORTION_BYTES:
                break
            taken.append(event)
        return taken

    async def _read(self) -> None:
        try:
            while self._stale:
                self._stale = False
                try:
                    await self._read_new()
                except Unavailable:
                    self._stale = True
                    await asyncio.sleep(_RETRY_S)
                except WeftError as error:
                    self.close(error)
        finally:
            self._reading = None

    async def _read_new(self) -> None:
        while True:
            page = await self._store.read_events(self.topic, self.last, limit=MAX_EVENTS)
            if not page.rows:
                self._check_whole(page.last)
                return
            if page.rows[0].sequence != self.last + 1:
                # Some were dropped before they were read here.
                self._events, self._size_bytes = [], 0
            for row in page.rows:
                event = sent(self.topic, row)
                self._events.append(event)
                self._size_bytes += len(event.wire)
            self.last = page.rows[-1].sequence
            self._trim()
            news, self._news = self._news, asyncio.Event()
            news.set()
            if self.last >= page.last:
                return

    def _trim(self) -> None:
        """Forget the oldest, some at a time."""
        if len(self._events) <= 2 * FEED_EVENTS and self._size_bytes <= 2 * FEED_BYTES:
            return
        keep, size_bytes = 0, 0
        for event in reversed(self._events[-FEED_EVENTS:]):
            size_bytes += len(event.wire)
            if keep and size_bytes > FEED_BYTES:
                break
            keep += 1
        self._events = self._events[-keep:]
        self._size_bytes = sum(len(event.wire) for event in self._events)

    def _check_whole(self, last: int) -> None:
        """
        Raises:
            FailedPrecondition: the store has lost events: sequences come again (CURSOR_AHEAD).
        """
        if last < self.last:
            raise refusals.cursor_ahead(self.topic, self.last, last)

    def close(self, error: WeftError) -> None:
        """End all subscriptions with an error."""
        self.error = error
        self._news.set()

    def stop(self) -> None:
        """Nobody subscribes any more."""
        if self._reading is not None:
            self._reading.cancel()


class TopicFeeds:
    """The feeds of topics with subscribers here.

    Args:
        most: subscribers at a time.

    Attributes:
        on_subscriber: awaited before a subscriber of a topic begins.
        delivered: gives the topics that have subscriptions.
    """

    def __init__(self, store: Store, most: int) -> None:
        self._store = store
        self._most = most
        self.on_subscriber: Callable[[str], Awaitable[None]] = _nothing
        self.delivered: Callable[[], Collection[str]] = tuple
        self._count = 0
        self._feeds: dict[str, TopicFeed] = {}
        self._error: WeftError | None = None

    def rows_changed(self, kind: str) -> None:
        """Something in the store has changed: perhaps a topic."""
        if self._feeds and (feed := self._feeds.get(topic_of(kind))) is not None:
            feed.changed()

    def topics(self) -> Collection[str]:
        """The topics that have subscribers here, or subscriptions."""
        return {*self._feeds, *self.delivered()}

    @asynccontextmanager
    async def subscribed(self, topic: str) -> AsyncIterator[TopicFeed]:
        """The feed of a topic, for one more subscriber.

        Raises:
            Overloaded: there are too many subscribers.
            WeftError: the feeds are closed.
        """
        if self._error is not None:
            raise self._error
        if self._count >= self._most:
            raise refusals.overloaded(
                f"{self._most} streams follow topics already; try again later", retry_after_s=5.0
            )
        await self.on_subscriber(topic)
        feed = self._feeds.get(topic)
        if feed is None or feed.error is not None:
            feed = self._feeds[topic] = TopicFeed(self._store, topic)
        self._count += 1
        feed.subscribers += 1
        try:
            await feed.begin()
            yield feed
        finally:
            self._count -= 1
            feed.subscribers -= 1
            if not feed.subscribers:
                feed.stop()
                if self._feeds.get(topic) is feed:
                    del self._feeds[topic]

    def close(self, error: WeftError) -> None:
        """End all subscriptions with an error."""
        self._error = error
        for feed in self._feeds.values():
            feed.close(error)
            feed.stop()


async def _nothing(_topic: str) -> None:
    """Nobody wants to know of subscribers."""
