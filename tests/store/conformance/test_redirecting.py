"""Ready tasks get other requirements, or end: tasks of sticky sessions whose agent cannot run them."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2

from tests.store.falling import falling
from tests.store.support import METHOD, Harness, StoreFactory, reason_of
from weft.coordinator.store import store_outcomes
from weft.coordinator.store.queue_moves import Redirected
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import ANY_AGENT, QueueKey, State
from weft.coordinator.store.run_limits import LockClaim, RunLimitRule
from weft.coordinator.store.sticky_agent import StickyAgent, bound_to

HERE = bound_to(ANY_AGENT, StickyAgent("one", ""), hard=False)
THERE = bound_to(ANY_AGENT, StickyAgent("two", ""), hard=False)
FROM, TO = QueueKey(METHOD, HERE), QueueKey(METHOD, THERE)


def sticky(**more: object) -> Submission:
    return Submission(METHOD, b"p", requirements=HERE, context=b"c", **more)  # type: ignore[arg-type]


async def ready(h: Harness, queue: QueueKey, portion: int = 2) -> dict[str, bytes]:
    """The contexts of a queue's ready tasks, read in portions."""
    found: dict[str, bytes] = {}
    at: int | None = 0
    while at is not None:
        page = await h.store.ready_tasks(queue, at, portion)
        assert len(page.tasks) <= portion
        found |= {each.task_id: each.context for each in page.tasks}
        at = page.next_at
    return found


async def test_ready_tasks_are_read_in_portions(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    ids = await h.submit_many([sticky() for _ in range(5)] + [Submission(METHOD)])
    assert await ready(h, FROM) == dict.fromkeys(ids[:5], b"c")
    (claimed,) = await h.claim(owner, 1, requirements=HERE)
    assert await ready(h, FROM) == dict.fromkeys(set(ids[:5]) - {claimed.task_id}, b"c")
    page = await h.store.ready_tasks(FROM, 0, 10)
    assert {each.ready_at for each in page.tasks} == {h.clock()}
    assert await ready(h, TO) == {}


async def test_tasks_go_to_another_queue(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    ids = await h.submit_many([sticky(), sticky(priority=9), sticky(group="g"), Submission(METHOD)])
    assert await h.store.redirect(FROM, [Redirected(task_id, THERE) for task_id in ids]) == 3
    assert h.store.ready_depths() == {TO: 3, QueueKey(METHOD): 1}
    record = await h.record(ids[1])
    assert (record.state, record.submission.requirements, record.submission.priority) == (
        State.QUEUED,
        THERE,
        9,
    )
    # In the order of before, with all that they had.
    assert [each.task_id for each in await h.claim(owner, 10, requirements=THERE)] == [ids[1], ids[0], ids[2]]
    assert (await h.record(ids[2])).submission.group == "g"
    assert await h.store.redirect(FROM, [Redirected(ids[0], HERE)]) == 0
    assert await h.claim(owner, requirements=HERE) == []


async def test_a_task_that_does_not_wait_there_is_left_as_it_is(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    running, later, other = await h.submit_many([sticky(), sticky(delay_s=60.0), Submission(METHOD)])
    (claimed,) = await h.claim(owner, requirements=HERE)
    assert claimed.task_id == running
    given = [Redirected(task_id, THERE) for task_id in (running, later, other, "nobody", "")]
    assert await h.store.redirect(FROM, given) == 0
    assert await h.store.redirect(FROM, [each._replace(outcome=b"x") for each in given]) == 0
    assert [await h.state(each) for each in (running, later, other)] == [
        State.RUNNING,
        State.SCHEDULED,
        State.QUEUED,
    ]


async def test_a_retry_goes_along(h: Harness) -> None:
    owner = await h.agent("one", lease_s=1e6)
    task_id = await h.submit(sticky())
    (claimed,) = await h.claim(owner, requirements=HERE)
    await h.end(claimed, code_pb2.UNAVAILABLE)
    await h.pass_time(1.0)
    avoiding = FROM._replace(avoid="one")
    assert h.store.ready_depths() == {avoiding: 1}
    assert await h.store.redirect(FROM, [Redirected(task_id, THERE)]) == 0
    assert await h.store.redirect(avoiding, [Redirected(task_id, THERE)]) == 1
    assert h.store.ready_depths() == {TO: 1}
    (again,) = await h.claim(owner, requirements=THERE)
    assert again.attempt == 2


async def test_a_task_ends_as_failed(h: Harness) -> None:
    ids = await h.submit_many([sticky(group="g"), sticky()])
    outcome = store_outcomes.crash_loop(7)
    assert await h.store.redirect(FROM, [Redirected(ids[0], outcome=outcome)]) == 1
    record = await h.record(ids[0])
    assert (record.state, record.outcome) == (State.FAILED, outcome)
    assert reason_of(record) == ("CRASH_LOOP", {"crashes": "7"})
    assert h.store.ready_depths() == {FROM: 1}
    # It can be tried again, where it was.
    await h.store.retry(ids[0])
    assert h.store.ready_depths() == {FROM: 2}


async def test_locks_and_limits_hold_for_the_other_queue(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(max_running=2)})
    ids = await h.submit_many([sticky(locks=(LockClaim("l", shared=False),)) for _ in range(3)])
    (first,) = await h.claim_all(owner)
    # The others are parked at the lock; those are not among the ready ones.
    assert await ready(h, FROM) == {}
    assert await h.store.redirect(FROM, [Redirected(each, THERE) for each in ids]) == 0
    await h.end(first)
    (returned,) = await ready(h, FROM)
    assert await h.store.redirect(FROM, [Redirected(returned, THERE)]) == 1
    await h.pass_time(0.0)
    done = []
    for _ in range(2):
        (claimed,) = await h.claim_all(owner)
        done.append(claimed.task_id)
        await h.end(claimed)
    assert {first.task_id, *done} == set(ids)


@pytest.mark.parametrize("crash", [False, True])
async def test_the_other_queue_is_durable(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    plain, falls = await h.submit_many([sticky(), falling(requirements=HERE)])
    given = [Redirected(plain, THERE), Redirected(falls, THERE)]
    assert await h.store.redirect(FROM, given) == 2
    h = await store_factory.reopen(h, crash=crash)
    await h.pass_time(10.0)
    assert h.store.ready_depths() == {TO: 2}
    assert (await h.record(plain)).submission.requirements == THERE
