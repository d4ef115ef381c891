"""Waiters and followers of tasks."""

import asyncio

import pytest

from weft.coordinator.calls.hub import FOLLOWER_ROWS, TaskHub
from weft.coordinator.store.records import ProgressRow, Submission, TaskRecord
from weft.coordinator.store.rules import State
from weft.rpc.errors import ResourceExhausted, Unavailable


def record(state, task_id="t"):
    return TaskRecord(task_id, state, Submission("a.S/A"))


async def test_waiters_hear_of_the_end_only_and_once():
    hub = TaskHub(10)
    heard = []
    hub.on_end("t", heard.append)
    assert hub.has_subscriber("t", ended=True)
    hub.changed(record(State.RUNNING))
    assert heard == []
    hub.changed(record(State.SUCCEEDED))
    hub.changed(record(State.SUCCEEDED))
    assert [r.state for r in heard] == [State.SUCCEEDED]
    assert not hub.has_subscriber("t", ended=True)


async def test_a_dropped_future_leaves_nothing():
    hub = TaskHub(10)
    future = hub.end_future("t")
    future.cancel()
    await asyncio.sleep(0)
    assert not hub.has_subscriber("t", ended=True)
    hub.changed(record(State.FAILED))


async def test_followers_see_the_newest_record_and_bounded_progress():
    hub = TaskHub(10)
    follower = hub.follow("t")
    hub.changed(record(State.QUEUED))
    hub.changed(record(State.RUNNING))
    hub.progressed("t", [ProgressRow(n, 1, b"") for n in range(1, FOLLOWER_ROWS + 100)])
    await follower.wait()
    assert follower.record.state is State.RUNNING
    assert len(follower.rows) == FOLLOWER_ROWS
    hub.unfollow(follower)
    hub.unfollow(follower)
    assert not hub.has_subscriber("t", ended=True)


async def test_followers_are_bounded():
    hub = TaskHub(2)
    first = hub.follow("a")
    hub.follow("b")
    with pytest.raises(ResourceExhausted):
        hub.follow("c")
    hub.unfollow(first)
    hub.follow("c")


async def test_closing_answers_everybody():
    hub = TaskHub(10)
    future = hub.end_future("t")
    follower = hub.follow("t")
    hub.close(Unavailable("stopping"))
    with pytest.raises(Unavailable):
        await future
    with pytest.raises(Unavailable):
        await follower.wait()
    with pytest.raises(Unavailable):
        hub.end_future("t")


def row(number: int, size_bytes: int = 1000) -> ProgressRow:
    return ProgressRow(number, 1, bytes(size_bytes))


async def test_a_handler_waits_for_a_caller_that_is_behind():
    hub = TaskHub(10)
    follower = hub.follow("t", most_unread_bytes=10_000)
    read: list[str] = []
    hub.progressed("t", [row(n) for n in range(1, 5)])
    assert not hub.behind("t")
    # Told once more, as after an outage of the store.
    hub.progressed("t", [row(n) for n in range(1, 5)])
    assert not hub.behind("t")
    hub.progressed("t", [row(n) for n in range(5, 20)])
    assert hub.behind("t")
    hub.on_read("t", lambda: read.append("read"))
    for number in range(1, 12):
        follower.read(row(number))
        assert not read
    # Not at once: half of it, or it would be one by one from here on.
    for number in range(12, 20):
        follower.read(row(number))
    assert (read, hub.behind("t")) == (["read"], False)
    # Who read from the store before it was told is not behind.
    follower.read(row(40))
    hub.progressed("t", [row(n, 10_000) for n in range(20, 41)])
    assert not hub.behind("t")
    hub.unfollow(follower)


async def test_nobody_waits_for_one_that_has_gone_or_only_watches():
    hub = TaskHub(10)
    watcher = hub.follow("t")
    caller = hub.follow("t", most_unread_bytes=10)
    hub.progressed("t", [row(1)])
    assert hub.behind("t")
    read: list[str] = []
    hub.on_read("t", lambda: read.append("read"))
    hub.unfollow(caller)
    assert (read, hub.behind("t")) == (["read"], False)
    hub.on_read("t", lambda: read.append("at once"))
    assert read == ["read", "at once"]
    hub.unfollow(watcher)
