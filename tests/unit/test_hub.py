"""Waiters and followers of tasks."""

import asyncio

import pytest

from weft.coordinator.hub import FOLLOWER_ROWS, TaskHub
from weft.coordinator.rules import State
from weft.coordinator.store.records import ProgressRow, Submission, TaskRecord
from weft.rpc.errors import ResourceExhausted, Unavailable


def record(state, task_id="t"):
    return TaskRecord(task_id, state, Submission("a.S/A"))


async def test_waiters_hear_of_the_end_only_and_once():
    hub = TaskHub(10)
    heard = []
    hub.on_end("t", heard.append)
    assert hub.wants("t", ended=True)
    hub.changed(record(State.RUNNING))
    assert heard == []
    hub.changed(record(State.SUCCEEDED))
    hub.changed(record(State.SUCCEEDED))
    assert [r.state for r in heard] == [State.SUCCEEDED]
    assert not hub.wants("t", ended=True)


async def test_a_dropped_future_leaves_nothing():
    hub = TaskHub(10)
    future = hub.end_future("t")
    future.cancel()
    await asyncio.sleep(0)
    assert not hub.wants("t", ended=True)
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
    assert not hub.wants("t", ended=True)


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
