"""The feed of a topic: subscribers at the same position share what is made of it, and keep one beat."""

from __future__ import annotations

from typing import Any, cast

import pytest

from weft.coordinator.events.event_codec import row_of
from weft.coordinator.events.event_service import MOST_PACE_S, PACE_EACH_S, PACE_S, pause_s
from weft.coordinator.events.topic_feed import PORTION_BYTES, PORTION_EVENTS, TopicFeed
from weft.coordinator.store.base import Store
from weft.coordinator.store.event_store import EventPage, EventRow
from weft.v1 import event_pb2

TOPIC = "acme.v1.Thing"


class Log:
    """The event store of one topic, in memory."""

    def __init__(self) -> None:
        self.rows: list[EventRow] = []

    def append(self, count: int, payload: bytes = b"") -> None:
        for _ in range(count):
            body = row_of(TOPIC, payload).body
            self.rows.append(EventRow(len(self.rows) + 1, 100.0, body))

    async def read_events(self, _topic: str, after: int, *, limit: int) -> EventPage:
        return EventPage(self.rows[after : after + limit], 1, len(self.rows))


async def feed_of(log: Log) -> TopicFeed:
    feed = TopicFeed(cast("Store", cast("Any", log)), TOPIC)
    await feed.begin()
    return feed


async def test_subscribers_at_one_position_share_a_portion() -> None:
    log = Log()
    feed = await feed_of(log)
    log.append(5)
    feed.changed()
    first, second = [await feed.after(0, keep_up=True) for _ in range(2)]
    assert first.events is second.events
    sent = event_pb2.SubscribeEventsResponse.FromString(first.events.wire)
    assert [event.sequence for event in sent.events] == [1, 2, 3, 4, 5]
    # Another position is another portion; and so is the same one when there is more.
    assert [event.sequence for event in (await feed.after(2, keep_up=True)).events] == [3, 4, 5]
    log.append(1)
    feed.changed()
    assert len((await feed.after(5, keep_up=True)).events) == 1
    again = await feed.after(0, keep_up=True)
    assert (len(again.events), again.position) == (6, 6)


@pytest.mark.parametrize(
    ("count", "payload", "expected"),
    [(PORTION_EVENTS + 7, b"", PORTION_EVENTS), (40, b"x" * (PORTION_BYTES // 8), 7)],
)
async def test_a_portion_is_bounded(count: int, payload: bytes, expected: int) -> None:
    log = Log()
    feed = await feed_of(log)
    log.append(count, payload)
    feed.changed()
    while feed.last < count:
        await feed.after(feed.last, keep_up=True)
    portion = await feed.after(0, keep_up=True)
    assert (len(portion.events), portion.position) == (expected, expected)


def test_the_beat_of_subscribers() -> None:
    assert pause_s(1, 0.0) == PACE_S
    # Two that ask at different times wait until the same time.
    assert pause_s(100, 7.01) + 7.01 == pytest.approx(pause_s(100, 7.07) + 7.07)
    assert 0 < pause_s(100, 7.07) <= 100 * PACE_EACH_S
    assert pause_s(10_000, 0.0) == MOST_PACE_S
