"""Events: sequences, ids, reading from a place, what is dropped, news, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.store.support import Harness, StoreFactory
from weft.coordinator.store import event_store
from weft.coordinator.store.event_store import (
    EVENT_BYTES,
    IDS_S,
    PAGE_BYTES,
    Appended,
    EventRow,
    NewEventRow,
    TooManyTopics,
    news_of,
)

TOPIC, OTHER = "acme.v1.OrderPlaced", "acme.v1.OrderShipped"


def _rows(*bodies: bytes, topic: str = TOPIC) -> list[NewEventRow]:
    return [NewEventRow(topic, body) for body in bodies]


async def _bodies(h: Harness, after: int = 0, *, topic: str = TOPIC, limit: int = 100) -> list[bytes]:
    return [row.body for row in (await h.store.read_events(topic, after, limit=limit)).rows]


async def test_events_are_read_as_they_were_appended(h: Harness) -> None:
    body = bytes(range(256)) * 3
    assert await h.store.append_events(_rows(body, b"")) == [Appended(1), Appended(2)]
    h.clock.advance(1.5)
    assert await h.store.append_events(_rows(b"3")) == [Appended(3)]
    began = h.clock() - 1.5
    page = await h.store.read_events(TOPIC, 0, limit=10)
    assert list(page.rows) == [
        EventRow(1, began, body),
        EventRow(2, began, b""),
        EventRow(3, began + 1.5, b"3"),
    ]
    assert (page.first, page.last) == (1, 3)
    assert await _bodies(h, 2) == [b"3"]
    assert await _bodies(h, limit=2) == [body, b""]
    # Behind the last one, also far behind; and of a topic without events.
    for topic, after, last in ((TOPIC, 3, 3), (TOPIC, 2**62, 3), (OTHER, 0, 0), (OTHER, 7, 0)):
        page = await h.store.read_events(topic, after, limit=10)
        assert (list(page.rows), page.first, page.last) == ([], 1, last)


async def test_each_topic_has_its_own_sequences(h: Harness) -> None:
    mixed = [NewEventRow(TOPIC, b"a"), NewEventRow(OTHER, b"x"), NewEventRow(TOPIC, b"b")]
    assert await h.store.append_events(mixed) == [Appended(1), Appended(1), Appended(2)]
    assert await h.store.append_events([]) == []
    assert (await _bodies(h), await _bodies(h, topic=OTHER)) == ([b"a", b"b"], [b"x"])
    first = await h.store.list_topics(limit=1)
    second = await h.store.list_topics(limit=1, cursor=first.cursor)
    assert [each.name for each in (*first.topics, *second.topics)] == [TOPIC, OTHER]
    assert second.cursor == ""
    (topic,) = first.topics
    assert (topic.first, topic.last, topic.last_at) == (1, 2, h.clock())
    assert topic.size_bytes == 2 * EVENT_BYTES + 2


async def test_an_id_is_one_event(h: Harness) -> None:
    once = NewEventRow(TOPIC, b"a", "one")
    assert await h.store.append_events([once, once, once._replace(topic=OTHER)]) == [
        Appended(1),
        Appended(1, existed=True),
        Appended(1),
    ]
    h.clock.advance(IDS_S)
    assert await h.store.append_events([NewEventRow(TOPIC, b"b"), once._replace(body=b"c")]) == [
        Appended(2),
        Appended(1, existed=True),
    ]
    h.clock.advance(2 * IDS_S)
    # Forgotten.
    assert await h.store.append_events([once]) == [Appended(3)]
    assert await _bodies(h) == [b"a", b"b", b"a"]


async def test_events_outlive_the_process(store_factory: StoreFactory) -> None:
    for crash in (True, False):
        h = await store_factory.open()
        await h.store.append_events([*_rows(b"1", b"2"), NewEventRow(TOPIC, b"3", "three")])
        h = await store_factory.reopen(h, crash=crash)
        assert await h.store.append_events([NewEventRow(TOPIC, b"3", "three")]) == [Appended(3, existed=True)]
        assert await h.store.append_events(_rows(b"4")) == [Appended(4)]
        assert await _bodies(h, 1) == [b"2", b"3", b"4"]


async def test_the_oldest_are_dropped_when_there_are_too_many_bytes(h: Harness) -> None:
    keep = h.store.event_keep_bytes  # type: ignore[attr-defined]
    each = keep // 4 - EVENT_BYTES
    for number in range(1, 7):
        await h.store.append_events(_rows(bytes([number]) * each))
    page = await h.store.read_events(TOPIC, 0, limit=10)
    assert ([row.sequence for row in page.rows], page.first, page.last) == ([3, 4, 5, 6], 3, 6)
    # Many at once, one too large by itself: the newest is always kept.
    await h.store.append_events(_rows(*[b"s"] * 500, b"L" * (keep + 1)))
    page = await h.store.read_events(TOPIC, 0, limit=10)
    assert ([row.sequence for row in page.rows], page.first, page.last) == ([507], 507, 507)
    (topic,) = (await h.store.list_topics(limit=5)).topics
    assert topic.size_bytes == keep + 1 + EVENT_BYTES
    await h.store.append_events(_rows(b"last"))
    assert await _bodies(h) == [b"last"]


async def test_old_ones_are_dropped_on_request(h: Harness) -> None:
    for number in range(5):
        await h.store.append_events(_rows(*[b"%d" % number] * 100))
        h.clock.advance(10)
    began = h.clock() - 50
    assert await h.store.trim_events(OTHER, began, 10) == 0
    assert await h.store.trim_events(TOPIC, began, 1000) == 0
    assert await h.store.trim_events(TOPIC, began + 15, 1000) == 200
    assert (await h.store.read_events(TOPIC, 0, limit=1)).first == 201
    # In portions.
    assert [await h.store.trim_events(TOPIC, began + 25, 60) for _ in range(3)] == [60, 40, 0]
    assert await h.store.trim_events(TOPIC, h.clock(), 1000) == 200
    page = await h.store.read_events(TOPIC, 0, limit=10)
    assert (list(page.rows), page.first, page.last) == ([], 501, 500)
    (topic,) = (await h.store.list_topics(limit=5)).topics
    assert (topic.first, topic.last, topic.size_bytes) == (501, 500, 0)
    # Sequences go on.
    assert await h.store.append_events(_rows(b"new")) == [Appended(501)]
    assert await _bodies(h) == [b"new"]


async def test_a_time_is_found(h: Harness) -> None:
    times = []
    for _ in range(10):
        await h.store.append_events(_rows(b"a", b"b"))
        times.append(h.clock())
        h.clock.advance(1)
    assert await h.store.event_before(OTHER, times[0]) == 0
    for index, at in enumerate(times):
        assert await h.store.event_before(TOPIC, at) == 2 * index
        assert await h.store.event_before(TOPIC, at + 0.5) == 2 * index + 2
    assert await h.store.event_before(TOPIC, 0.0) == 0
    assert await h.store.event_before(TOPIC, times[-1] + 1e9) == 20
    await h.store.trim_events(TOPIC, times[5], 1000)
    assert await h.store.event_before(TOPIC, times[0]) == 10
    # A clock that was set back does not set times back.
    h.clock.advance(-1000)
    await h.store.append_events(_rows(b"c"))
    assert (await h.store.read_events(TOPIC, 20, limit=1)).rows[0].at == times[-1]


async def test_a_page_has_few_large_events(h: Harness) -> None:
    await h.store.append_events(_rows(*[b"x" * (PAGE_BYTES // 2 + 1)] * 4, b"y"))
    assert len(await _bodies(h)) == 2
    assert len(await _bodies(h, 3)) == 2


async def test_there_are_not_too_many_topics(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(h.store), "max_topics", 2)
    many = [*_rows(b"1"), *_rows(b"2", topic=OTHER), *_rows(b"3", topic="acme.v1.Third")]
    assert await h.store.append_events(many) == TooManyTopics(2)
    assert (await h.store.list_topics(limit=5)).topics == []
    assert await h.store.append_events(many[:2]) == [Appended(1), Appended(1)]
    assert await h.store.append_events(many) == TooManyTopics(2)
    assert await h.store.append_events(many[:2]) == [Appended(2), Appended(2)]


async def test_appends_are_told(h: Harness) -> None:
    h.listener.changed_kinds.clear()
    await h.store.append_events([*_rows(b"1", b"2"), *_rows(b"3", topic=OTHER)])
    assert set(h.listener.changed_kinds) >= {news_of(TOPIC), news_of(OTHER)}
    assert [event_store.topic_of(kind) for kind in (news_of(TOPIC), "schedule")] == [TOPIC, ""]


async def test_concurrent_appends_leave_no_gap(h: Harness) -> None:
    async def append(number: int) -> list[Appended]:
        results = await h.store.append_events(_rows(*[b"%d" % number] * (number % 7 + 1)))
        assert not isinstance(results, TooManyTopics)
        return list(results)

    async def read() -> list[int]:
        seen: list[int] = []
        while len(seen) < total:
            page = await h.store.read_events(TOPIC, len(seen), limit=50)
            seen += [row.sequence for row in page.rows]
            await asyncio.sleep(0)
        return seen

    total = sum(number % 7 + 1 for number in range(60))
    seen, *stored = await asyncio.gather(read(), *(append(number) for number in range(60)))
    assert seen == list(range(1, total + 1))
    assert sorted(_sequences(stored)) == seen


def _sequences(stored: list[list[Appended]]) -> Iterator[int]:
    return (each.sequence for results in stored for each in results)
