"""Waiters and followers of tasks."""

import asyncio

import pytest

from weft.coordinator.calls.task_subscriptions import FOLLOWER_ROWS, TaskSubscriptions
from weft.coordinator.store.records import ProgressRow, Submission, TaskRecord
from weft.coordinator.store.rules import State
from weft.rpc.errors import ResourceExhausted, Unavailable


def record(state, task_id="t"):
    return TaskRecord(task_id, state, Submission("a.S/A"))


async def test_waiters_hear_of_the_end_only_and_once():
    subscriptions = TaskSubscriptions(10)
    heard = []
    subscriptions.on_end("t", heard.append)
    assert subscriptions.has_subscriber("t", ended=True)
    subscriptions.changed(record(State.RUNNING))
    assert heard == []
    subscriptions.changed(record(State.SUCCEEDED))
    subscriptions.changed(record(State.SUCCEEDED))
    assert [r.state for r in heard] == [State.SUCCEEDED]
    assert not subscriptions.has_subscriber("t", ended=True)


async def test_a_dropped_future_leaves_nothing():
    subscriptions = TaskSubscriptions(10)
    future = subscriptions.end_future("t")
    future.cancel()
    await asyncio.sleep(0)
    assert not subscriptions.has_subscriber("t", ended=True)
    subscriptions.changed(record(State.FAILED))


async def test_followers_see_the_newest_record_and_bounded_progress():
    subscriptions = TaskSubscriptions(10)
    follower = subscriptions.follow("t")
    subscriptions.changed(record(State.QUEUED))
    subscriptions.changed(record(State.RUNNING))
    subscriptions.progressed("t", [ProgressRow(n, 1, b"") for n in range(1, FOLLOWER_ROWS + 100)])
    await follower.wait()
    assert follower.record.state is State.RUNNING
    assert len(follower.rows) == FOLLOWER_ROWS
    subscriptions.unfollow(follower)
    subscriptions.unfollow(follower)
    assert not subscriptions.has_subscriber("t", ended=True)


async def test_followers_are_bounded():
    subscriptions = TaskSubscriptions(2)
    first = subscriptions.follow("a")
    subscriptions.follow("b")
    with pytest.raises(ResourceExhausted):
        subscriptions.follow("c")
    subscriptions.unfollow(first)
    subscriptions.follow("c")


async def test_closing_answers_everybody():
    subscriptions = TaskSubscriptions(10)
    future = subscriptions.end_future("t")
    follower = subscriptions.follow("t")
    subscriptions.close(Unavailable("stopping"))
    with pytest.raises(Unavailable):
        await future
    with pytest.raises(Unavailable):
        await follower.wait()
    with pytest.raises(Unavailable):
        subscriptions.end_future("t")


def row(number: int, size_bytes: int = 1000) -> ProgressRow:
    return ProgressRow(number, 1, bytes(size_bytes))


async def test_a_handler_waits_for_a_caller_that_is_behind():
    subscriptions = TaskSubscriptions(10)
    follower = subscriptions.follow("t", most_unread_bytes=10_000)
    read: list[str] = []
    subscriptions.progressed("t", [row(n) for n in range(1, 5)])
    assert not subscriptions.behind("t")
    # Told once more, as after an outage of the store.
    subscriptions.progressed("t", [row(n) for n in range(1, 5)])
    assert not subscriptions.behind("t")
    subscriptions.progressed("t", [row(n) for n in range(5, 20)])
    assert subscriptions.behind("t")
    subscriptions.on_read("t", lambda: read.append("read"))
    for number in range(1, 12):
        follower.read(row(number))
        assert not read
    # Not at once: half of it, or it would be one by one from here on.
    for number in range(12, 20):
        follower.read(row(number))
    assert (read, subscriptions.behind("t")) == (["read"], False)
    # Who read from the store before it was told is not behind.
    follower.read(row(40))
    subscriptions.progressed("t", [row(n, 10_000) for n in range(20, 41)])
    assert not subscriptions.behind("t")
    subscriptions.unfollow(follower)


async def test_nobody_waits_for_one_that_has_gone_or_only_watches():
    subscriptions = TaskSubscriptions(10)
    watcher = subscriptions.follow("t")
    caller = subscriptions.follow("t", most_unread_bytes=10)
    subscriptions.progressed("t", [row(1)])
    assert subscriptions.behind("t")
    read: list[str] = []
    subscriptions.on_read("t", lambda: read.append("read"))
    subscriptions.unfollow(caller)
    assert (read, subscriptions.behind("t")) == (["read"], False)
    subscriptions.on_read("t", lambda: read.append("at once"))
    assert read == ["read", "at once"]
    subscriptions.unfollow(watcher)
