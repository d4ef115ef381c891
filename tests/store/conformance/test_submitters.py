"""Submitters that may have only so many unfinished tasks: the store counts them through everything that can happen to a task."""

from __future__ import annotations

from typing import Any

from google.rpc import code_pb2

from tests.store.support import METHOD, OTHER_METHOD, Harness, StoreFactory, ref
from weft.coordinator.store.alternatives import Alternative
from weft.coordinator.store.falling_back import alternative_of
from weft.coordinator.store.records import Enqueued, Submission, TooManyTasks
from weft.coordinator.store.rules import State, TaskRetryPolicy

RETRYING = TaskRetryPolicy(initial_backoff_s=4.0, max_backoff_s=4.0)
FULL = TooManyTasks("token:a", 2)


def by(submitter: str = "token:a", most: int = 2, **more: Any) -> Submission:
    return Submission(METHOD, b"p", submitter=submitter, most_unfinished=most, **more)


async def room(h: Harness, most: int = 2) -> int:
    """How many tasks the submitter has room for: found by submitting them, then taken back."""
    results = await h.store.enqueue([by(most=most)] * (most + 1), acknowledged=True)
    ids = [each.task_id for each in results if isinstance(each, Enqueued)]
    for task_id in ids:
        await h.cancel(task_id)
    return len(ids)


async def test_one_too_many_is_refused(h: Harness) -> None:
    results = await h.store.enqueue([by(), by("token:b"), by(), by(), Submission(METHOD), by("token:b", 1)])
    assert [isinstance(each, Enqueued) for each in results] == [True, True, True, False, True, False]
    assert (results[3], results[5]) == (FULL, TooManyTasks("token:b", 1))
    assert h.store.unfinished() == 4
    # A lower limit refuses until enough have ended; tasks without a submitter do not count.
    assert await h.store.enqueue([by(most=1)]) == [TooManyTasks("token:a", 1)]
    assert isinstance((await h.store.enqueue([by(most=3)]))[0], Enqueued)
    assert await h.store.enqueue([by()]) == [FULL]


async def test_an_end_makes_room_however_it_comes(h: Harness) -> None:
    owner = await h.agent(lease_s=100.0)
    for code in (code_pb2.OK, code_pb2.INTERNAL):
        await h.submit_many([by(), by()])
        first, second = await h.claim_all(owner)
        # Running tasks are unfinished.
        assert await h.store.enqueue([by()]) == [FULL]
        await h.end(first, code)
        assert await room(h) == 1
        # The store itself ends one whose agent does not.
        await h.cancel(second.task_id, 0.0)
        assert await room(h) == 1
        await h.pass_time(2.0)
        assert await room(h) == 2
    # A limit of time.
    await h.submit_many([by(schedule_to_start_s=1.0)] * 2)
    assert await room(h) == 0
    await h.pass_time(2.0)
    assert await room(h) == 2


async def test_a_retry_a_release_and_a_fallback_keep_the_place(h: Harness) -> None:
    owner = await h.agent(lease_s=100.0)
    given = by(retry=RETRYING)
    given.alternatives = (alternative_of(given), Alternative(OTHER_METHOD))
    (task_id,) = await h.submit_many([given])
    claimed = await h.claim_one(owner)
    await h.end(claimed, code_pb2.UNAVAILABLE)
    assert await room(h) == 1
    await h.pass_time(10.0)
    (claimed,) = await h.claim_all(owner)
    await h.store.release(owner, [ref(claimed)])
    assert await room(h) == 1
    (claimed,) = await h.claim_all(owner)
    await h.end(claimed, code_pb2.INTERNAL)
    # It is at the other method now.
    assert (await h.record(task_id)).submission.method == OTHER_METHOD
    assert await room(h) == 1
    (claimed,) = await h.claim(owner, 1, methods=(OTHER_METHOD,))
    await h.end(claimed, code_pb2.INTERNAL)
    assert await h.state(task_id) is State.FAILED
    assert await room(h) == 2
    # A task that is queued again is at no limit, and counts.
    await h.submit_many([by(), by()])
    assert await h.store.retry(task_id) is not None
    assert await h.store.enqueue([by(most=3)]) == [TooManyTasks("token:a", 3)]


async def test_a_known_request_is_at_no_limit(h: Harness) -> None:
    (first,) = await h.submit_many([by(most=1, request_id="r")])
    again, refused = await h.store.enqueue([by(most=1, request_id="r"), by(most=1, request_id="s")])
    assert again == Enqueued(first, existed=True)
    assert refused == TooManyTasks("token:a", 1)
    # The refused one's request id is free.
    await h.cancel(first)
    (stored,) = await h.store.enqueue([by(most=1, request_id="s")])
    assert isinstance(stored, Enqueued)
    assert not stored.existed


async def test_unacknowledged_tasks_are_counted_too(h: Harness) -> None:
    results = await h.store.enqueue(
        [by(task_id=h.store.new_task_id(METHOD)) for _ in range(3)], acknowledged=False
    )
    assert results[2] == FULL
    assert await room(h) == 0


async def test_counts_survive_a_restart(h: Harness, store_factory: StoreFactory) -> None:
    strange = 'jwt:corp:"ünï\\'
    await h.submit_many(
        [by(), by(fairness_key="k", group="g"), by(strange), by(delay_s=100.0, submitter=strange)]
    )
    ids = await h.submit_many([by("token:c", 5), by("token:c", 5)])
    await h.end(await _claimed(h, ids[0]), code_pb2.INTERNAL)
    for crash in (False, True):
        h = await store_factory.reopen(h, crash=crash)
        assert await h.store.enqueue([by(), by(strange)]) == [FULL, TooManyTasks(strange, 2)]
        assert isinstance((await h.store.enqueue([by("token:c", 2)]))[0], Enqueued) is not crash
    # An ended task still knows whose it was.
    assert await h.store.retry(ids[0]) is not None
    assert await h.store.enqueue([by("token:c", 3)]) == [TooManyTasks("token:c", 3)]


async def _claimed(h: Harness, task_id: str) -> Any:
    claims = await h.claim_all(await h.agent())
    return next(claimed for claimed in claims if claimed.task_id == task_id)
