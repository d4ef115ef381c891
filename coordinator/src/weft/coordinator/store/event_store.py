"""The events' part of a store: a log a topic. Events get sequences, are read by them, and go when they are old or many.

- Sequences of a topic are 1, 2, 3 … in the order in which events were stored, without gaps. They never begin anew, also when no event is
  kept any more. An event is readable when it is durable, and never before an event with a smaller sequence.
- An id is remembered for at least `IDS_S`: an event with the id is the same one. That costs nothing for events without an id.
- The store knows nothing of an event but its id; the rest is bytes.
- `StoreListener.rows_changed` tells of `news_of(topic)` at every coordinator, soon after an append and at least once.
- A topic without appends costs nothing; it is never forgotten, and there are at most `MAX_TOPICS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

MAX_TOPICS = 10_000
# Events in one append, and in one page.
MAX_EVENTS = 1000
# How long an id is remembered, at least; at most twice as long.
IDS_S = 120.0
# What an event costs beside its body, about.
EVENT_BYTES = 64
# Bodies in one page.
PAGE_BYTES = 1024 * 1024
_NEWS = "events:"


class NewEventRow(NamedTuple):
    """An event to append. Without an id it is always a new one."""

    topic: str
    body: bytes
    id: str = ""


class EventRow(NamedTuple):
    """A stored event. `at`: when it was stored, by the store's clock; it never falls within a topic."""

    sequence: int
    at: float
    body: bytes


class Appended(NamedTuple):
    """Where an event is stored, and whether it was there already, under its id."""

    sequence: int
    existed: bool = False


class TooManyTopics(NamedTuple):
    """A refused append: one of its topics is new, and there are as many as there may be."""

    limit: int


@dataclass(frozen=True, slots=True)
class TopicRecord:
    """A topic: its oldest kept event (one after the last, if none is kept), its newest one, bytes about, and the newest one's time."""

    name: str
    first: int
    last: int
    size_bytes: int
    last_at: float


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order, and the topic's first and last sequence (1 and 0: it has never had an event)."""

    rows: Sequence[EventRow]
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class TopicPage:
    """Topics by name, and the cursor of the next page; empty: this is the last page."""

    topics: Sequence[TopicRecord]
    cursor: str = ""


class EventStore(Protocol):
    """Logs of events. Raises `weft.rpc.errors.Unavailable` (STORE_UNAVAILABLE) if the store cannot be used; then nothing was stored, or
    it is unknown whether all of the call was."""

    async def append_events(self, events: Sequence[NewEventRow]) -> Sequence[Appended] | TooManyTopics:
        """Append events, all or none, in this order; returns when they are durable. Then drops the oldest ones of a topic that has
        more bytes than it may (`StoreLimits.event_keep_bytes`), but never the newest one."""
        ...

    async def read_events(self, topic: str, after: int, *, limit: int) -> EventPage:
        """Events after a sequence, in order. Large ones: fewer than `limit`, but at least one."""
        ...

    async def event_before(self, topic: str, at: float) -> int:
        """The sequence after which all events were stored at this time or later."""
        ...

    async def list_topics(self, *, limit: int, cursor: str = "") -> TopicPage:
        """A page of topics, by name. A short page may have a next one."""
        ...

    async def trim_events(self, topic: str, before: float, limit: int) -> int:
        """Drop a topic's oldest events that were stored before a time, at most `limit`; returns how many."""
        ...


def news_of(topic: str) -> str:
    """What `StoreListener.rows_changed` calls an append to a topic."""
    return f"{_NEWS}{topic}"


def topic_of(kind: str) -> str:
    """The topic of such news; empty: this is other news."""
    return kind[len(_NEWS) :] if kind.startswith(_NEWS) else ""


def bucket_of(at: float) -> int:
    """The span of `IDS_S` that has a time. Ids are remembered by spans: those of a time and of the span before count."""
    return int(at // IDS_S)
