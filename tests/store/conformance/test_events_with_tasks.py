"""Events that are published with a task: both are stored, or none."""

from __future__ import annotations

import pytest

from tests.store.support import METHOD, Harness, StoreFactory
from weft.coordinator.store import event_store
from weft.coordinator.store.event_store import Appended, NewEventRow, TooManyTopics, news_of
from weft.coordinator.store.group_store import GroupClosed
from weft.coordinator.store.records import Enqueued, Submission

TOPIC = "acme.v1.OrderPlaced"


def _events(*bodies: bytes) -> tuple[NewEventRow, ...]:
    return tuple(NewEventRow(TOPIC, body, body.decode()) for body in bodies)


async def _bodies(h: Harness) -> list[bytes]:
    return [row.body for row in (await h.store.read_events(TOPIC, 0, limit=100)).rows]


async def test_both_are_stored(store_factory: StoreFactory) -> None:
    h = await store_factory.open()
    with_events = Submission(METHOD, b"1", request_id="r", events=_events(b"a", b"b"))
    (first,) = await h.store.enqueue([with_events])
    assert isinstance(first, Enqueued)
    assert not first.existed
    assert news_of(TOPIC) in h.listener.changed_kinds
    # A repeat publishes nothing, also when the events' ids are forgotten.
    h.clock.advance(10 * event_store.IDS_S)
    (again,) = await h.store.enqueue([with_events])
    assert (again.task_id, again.existed) == (first.task_id, True)  # type: ignore[union-attr]
    others = [Submission(METHOD, b"2"), Submission(METHOD, b"3", events=_events(b"c"))]
    await h.store.enqueue([*others, Submission(METHOD, b"4", events=_events(b"d"))])
    assert await _bodies(h) == [b"a", b"b", b"c", b"d"]
    h = await store_factory.reopen(h, crash=True)
    assert await _bodies(h) == [b"a", b"b", b"c", b"d"]
    assert h.store.unfinished() == 4
    assert await h.store.append_events(_events(b"e")) == [Appended(5)]
    owner = await h.agent()
    assert len(await h.claim_all(owner)) == 4


async def test_a_refused_task_publishes_nothing(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    await h.store.create_group("g")
    await h.store.close_group("g")
    refused = Submission(METHOD, group="g", events=_events(b"a"))
    assert await h.store.enqueue([refused]) == [GroupClosed("g")]
    monkeypatch.setattr(type(h.store), "max_topics", 0)
    monkeypatch.setattr("weft.coordinator.store.redis.write_buffer.MAX_TOPICS", 0)
    one_too_many = Submission(METHOD, events=_events(b"b"))
    results = await h.store.enqueue([one_too_many, Submission(METHOD)])
    assert isinstance(results[0], TooManyTopics)
    assert isinstance(results[1], Enqueued)
    assert await _bodies(h) == []
    assert h.store.unfinished() == 1
