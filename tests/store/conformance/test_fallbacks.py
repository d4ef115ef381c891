"""Fallbacks: a task that would fail goes on at the next method that may run it; the same task, with its attempts in a row."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.rpc import code_pb2

from tests.store.falling import ONCE, THIRD, TWICE, falling, shown
from tests.store.support import METHOD, OTHER_METHOD, Harness, StoreFactory, error_of, reason_of
from weft.coordinator.store.alternatives import Alternative
from weft.coordinator.store.falling_back import at_alternative
from weft.coordinator.store.history import attempts
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import AtLimit, Enqueued, Submission, Verdict
from weft.coordinator.store.rules import QueueKey, Requirements, State, TaskRetryPolicy
from weft.coordinator.store.run_limits import LimitAction, LockClaim, RunLimitRule
from weft.v1 import session_pb2


async def test_a_failed_task_goes_on_at_its_fallback(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    task_id = await h.submit(falling(priority=7, context=b"c", request_id="r"))
    (first,) = await h.claim_all(owner)
    assert (first.method, first.attempt) == (METHOD, 1)
    assert await h.end(first, code_pb2.INTERNAL, outcome=b"\n\x02\x08\r") is Verdict.RETRYING
    assert await h.end(first, code_pb2.INTERNAL, outcome=b"\n\x02\x08\r") is Verdict.RETRYING
    assert await shown(h, task_id) == (OTHER_METHOD, METHOD, State.QUEUED)
    record = await h.record(task_id)
    assert (record.outcome, record.failures, record.submission.priority) == (b"\n\x02\x08\r", 0, 7)
    assert h.store.ready_depths() == {QueueKey(OTHER_METHOD): 1}
    assert list(await h.store.depths()) == [QueueKey(OTHER_METHOD)]
    assert await h.find(ListFilter(method=OTHER_METHOD)) == [task_id]
    assert await h.find(ListFilter(method=METHOD)) == []
    # Its own retry policy, and a queue without an agent to avoid.
    for attempt in (2, 3):
        (again,) = await h.claim_all(owner)
        assert (again.method, again.attempt, again.payload, again.context) == (
            OTHER_METHOD,
            attempt,
            b"p",
            b"c",
        )
        await h.end(again, code_pb2.UNAVAILABLE)
        await h.pass_time(0.0)
    record = await h.record(task_id)
    assert (record.state, record.attempt) == (State.FAILED, 3)
    assert await shown(h, task_id) == (OTHER_METHOD, METHOD, State.FAILED)
    (told,) = await h.store.get([task_id], history=True)
    assert told is not None
    assert [each.number for each in attempts(told)] == [1, 2, 3]
    # A repeat of the submission is the same task.
    assert await h.store.enqueue([falling(request_id="r", request_digest=b"")]) == [
        Enqueued(task_id, existed=True)
    ]


async def test_a_chain_ends_with_its_last_method_and_retry_begins_at_the_first(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    task_id = await h.submit(falling(Alternative(OTHER_METHOD, retry=ONCE), Alternative(THIRD, retry=ONCE)))
    for method in (METHOD, OTHER_METHOD, THIRD):
        (claimed,) = await h.claim_all(owner)
        assert claimed.method == method
        await h.end(claimed, code_pb2.UNAVAILABLE)
    assert await shown(h, task_id) == (THIRD, METHOD, State.FAILED)
    await h.store.retry(task_id)
    assert await shown(h, task_id) == (METHOD, "", State.QUEUED)
    (claimed,) = await h.claim_all(owner)
    assert (claimed.method, claimed.attempt) == (METHOD, 4)
    assert claimed.rerun is not None
    assert claimed.rerun.cause == session_pb2.RERUN_CAUSE_REQUESTED
    await h.end(claimed, code_pb2.UNAVAILABLE)
    assert (await shown(h, task_id))[0] == OTHER_METHOD
    (claimed,) = await h.claim_all(owner)
    # It was not asked for by hand once more.
    assert claimed.rerun is not None
    assert claimed.rerun.cause == session_pb2.RERUN_CAUSE_FAILED
    await h.end(claimed)
    assert await shown(h, task_id) == (OTHER_METHOD, METHOD, State.SUCCEEDED)


@pytest.mark.parametrize(
    "code",
    [
        code_pb2.CANCELLED,
        code_pb2.INVALID_ARGUMENT,
        code_pb2.NOT_FOUND,
        code_pb2.ALREADY_EXISTS,
        code_pb2.PERMISSION_DENIED,
        code_pb2.UNAUTHENTICATED,
        code_pb2.FAILED_PRECONDITION,
        code_pb2.OUT_OF_RANGE,
    ],
)
async def test_an_answer_about_the_request_is_the_tasks(h: Harness, code: int) -> None:
    task_id = await h.submit(falling())
    (claimed,) = await h.claim_all(await h.agent(lease_s=1e6))
    await h.end(claimed, code)
    assert await shown(h, task_id) == (METHOD, "", State.FAILED)


@pytest.mark.parametrize("code", [code_pb2.INTERNAL, code_pb2.UNIMPLEMENTED, code_pb2.DEADLINE_EXCEEDED])
async def test_other_failures_fall_back_also_if_no_policy_retries_them(h: Harness, code: int) -> None:
    task_id = await h.submit(falling(retry=TWICE))
    (claimed,) = await h.claim_all(await h.agent(lease_s=1e6))
    assert await h.end(claimed, code, final=True) is Verdict.RETRYING
    assert await shown(h, task_id) == (OTHER_METHOD, METHOD, State.QUEUED)


async def test_retries_come_first_and_a_backoff_past_the_end_falls_back_at_once(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    task_id = await h.submit(falling(retry=TaskRetryPolicy(max_attempts=3), schedule_to_close_s=60.0))
    (claimed,) = await h.claim_all(owner)
    await h.end(claimed, code_pb2.UNAVAILABLE, retry_after_s=5.0)
    assert await shown(h, task_id) == (METHOD, "", State.SCHEDULED)
    await h.pass_time(5.0)
    (claimed,) = await h.claim_all(owner)
    await h.end(claimed, code_pb2.UNAVAILABLE, retry_after_s=500.0)
    assert await shown(h, task_id) == (OTHER_METHOD, METHOD, State.QUEUED)
    # The time over all is the task's.
    await h.pass_time(55.0)
    assert await shown(h, task_id) == (OTHER_METHOD, METHOD, State.FAILED)
    assert reason_of(await h.record(task_id))[1] == {"limit": "schedule_to_close"}


async def test_crashes_fall_back_and_count_anew(h: Harness) -> None:
    task_id = await h.submit(falling())
    for method in (METHOD, OTHER_METHOD, OTHER_METHOD):
        owner = await h.agent(lease_s=1e6)
        (claimed,) = await h.claim_all(owner)
        assert claimed.method == method
        await h.store.retire(owner)
    record = await h.record(task_id)
    assert (record.state, record.crashes) == (State.FAILED, 2)
    assert reason_of(record)[0] == "CRASH_LOOP"


async def test_who_does_not_start_in_time_falls_back_and_has_that_time_again(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    second = Alternative(OTHER_METHOD, retry=ONCE, schedule_to_start_s=4.0)
    waiting, delayed, parked = await h.submit_many(
        [
            falling(second, schedule_to_start_s=10.0),
            falling(second, schedule_to_start_s=5.0, delay_s=5.0),
            falling(second, schedule_to_start_s=10.0, locks=(LockClaim("l", False),)),
        ]
    )
    holder = await h.submit(Submission(THIRD, locks=(LockClaim("l", False),)))
    assert [claimed.task_id for claimed in await h.claim(owner, methods=[THIRD])] == [holder]
    await h.pass_time(9.0)
    # It is parked only when a claim finds the lock held; the others before it must stay.
    assert {await h.state(task_id) for task_id in (waiting, delayed, parked)} == {State.QUEUED}
    await h.pass_time(1.0)
    for task_id in (waiting, delayed, parked):
        assert await shown(h, task_id) == (OTHER_METHOD, METHOD, State.QUEUED)
        assert reason_of(await h.record(task_id))[1] == {"limit": "schedule_to_start"}
    claims = await h.claim(owner, 1, methods=[OTHER_METHOD])
    assert [claimed.task_id for claimed in claims] == [waiting]
    await h.pass_time(4.0)
    assert await h.state(waiting) is State.RUNNING
    for task_id in (delayed, parked):
        assert await shown(h, task_id) == (OTHER_METHOD, METHOD, State.FAILED)


async def test_tasks_leave_a_queue_that_nobody_serves(h: Harness, store_factory: StoreFactory) -> None:
    owner = await h.agent(lease_s=1e6)
    retried = await h.submit(falling(retry=TWICE))
    (claimed,) = await h.claim_all(owner)
    await h.end(claimed, code_pb2.UNAVAILABLE)
    await h.pass_time(0.0)
    plain, last, delayed = await h.submit_many(
        [Submission(METHOD), at_alternative(falling(Alternative(METHOD)), 1), falling(delay_s=60.0)]
    )
    waiting = await h.submit_many(
        [falling(priority=priority, fairness_key=key) for priority in (3, 9) for key in ("a", "b", "")]
    )
    cancelled = await h.submit(falling())
    await h.cancel(cancelled)
    await h.pass_time(7.0)
    queues = [QueueKey(METHOD), QueueKey(METHOD, avoid=owner.agent_id)]
    assert [await h.leave(queue) for queue in queues] == [len(waiting), 1]
    assert [await h.leave(queue) for queue in queues] == [0, 0]
    for task_id in (retried, *waiting):
        assert await shown(h, task_id) == (OTHER_METHOD, METHOD, State.QUEUED)
        record = await h.record(task_id)
        avoided = f", not {owner.agent_id}" if task_id == retried else ""
        assert reason_of(record)[0] == "NO_AGENT"
        assert error_of(record).message.endswith(f"queued 7.0 s for an agent for it{avoided}")
        assert (record.failures, record.ready_at) == (0, h.clock())
    for task_id, state in (
        (plain, State.QUEUED),
        (last, State.QUEUED),
        (delayed, State.SCHEDULED),
        (cancelled, State.CANCELLED),
    ):
        assert await h.state(task_id) is state
    h2 = await store_factory.reopen(h, crash=True)
    await h2.pass_time(10.0)
    claims = {each.task_id: each for each in await h2.claim_all(await h2.agent(lease_s=1e6))}
    assert {task_id for task_id, each in claims.items() if each.method == OTHER_METHOD} == {retried, *waiting}
    assert claims[retried].attempt == 2


async def test_a_slow_attempt_falls_back_and_is_revoked(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    task_id = await h.submit(falling(start_to_close_s=5.0))
    (claimed,) = await h.claim_all(owner)
    await h.pass_time(6.0)
    assert await shown(h, task_id) == (OTHER_METHOD, METHOD, State.QUEUED)
    assert h.listener.revocations[-1].lost
    assert await h.end(claimed) is Verdict.RETRYING or await h.state(task_id) is State.QUEUED
    (claimed,) = await h.claim_all(owner)
    assert claimed.deadline_at is None
    await h.end(claimed)
    assert await shown(h, task_id) == (OTHER_METHOD, METHOD, State.SUCCEEDED)


async def test_a_cancelled_task_does_not_fall_back(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    failed, crashed = await h.submit_many([falling(), falling()])
    for claimed in await h.claim_all(owner):
        await h.cancel(claimed.task_id)
        await h.end(claimed, code_pb2.INTERNAL, crashed=claimed.task_id == crashed)
    assert await shown(h, failed) == (METHOD, "", State.FAILED)
    assert await shown(h, crashed) == (METHOD, "", State.CANCELLED)


async def test_gates_and_requirements_are_those_of_the_fallback(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    eu = Requirements.of({"zone": "eu"}, {})
    other = Alternative(
        OTHER_METHOD, eu, ONCE, limit_keys=(("tenant", "a"),), locks=(LockClaim("second", False),)
    )
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(1)})
    await h.store.set_run_limits(OTHER_METHOD, {"tenant": RunLimitRule(1)})
    given = falling(other, locks=(LockClaim("first", False),))
    one, two = await h.submit_many([given, given])
    (claimed,) = await h.claim_all(owner)
    await h.end(claimed, code_pb2.INTERNAL)
    assert [lock.name for lock in await h.store.locks()] in ([], ["first"])
    # The gates of the first method are free, and the other task has them; this one takes those of the second.
    claims = {each.task_id: each for each in await h.claim_all(owner)}
    assert {task_id: each.method for task_id, each in claims.items()} == {one: OTHER_METHOD, two: METHOD}
    assert [lock.name for lock in await h.store.locks()] == ["first", "second"]
    assert set(await h.store.depths()) == {QueueKey(METHOD), QueueKey(OTHER_METHOD, eu)}
    await h.end(claims[two], code_pb2.INTERNAL)
    assert await h.claim_all(owner) == []
    assert (await h.record(two)).limited_by
    await h.end(claims[one])
    (last,) = await h.claim_all(owner)
    assert (last.task_id, last.method) == (two, OTHER_METHOD)
    await h.end(last)
    assert await h.store.depths() == {}
    assert await h.store.locks() == []


async def test_unfinished_tasks_count_where_they_are(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    for method in (METHOD, OTHER_METHOD):
        await h.store.set_run_limits(method, {"": RunLimitRule(1, at_limit=LimitAction.REFUSE)})
    await h.submit(falling())
    assert isinstance((await h.store.enqueue([Submission(METHOD)]))[0], AtLimit)
    (claimed,) = await h.claim_all(owner)
    await h.end(claimed, code_pb2.INTERNAL)
    assert isinstance((await h.store.enqueue([Submission(METHOD)]))[0], Enqueued)
    assert isinstance((await h.store.enqueue([Submission(OTHER_METHOD)]))[0], AtLimit)


async def test_it_may_begin_at_a_fallback(h: Harness) -> None:
    task_id = await h.submit(at_alternative(falling(), 1))
    assert await shown(h, task_id) == (OTHER_METHOD, METHOD, State.QUEUED)
    (claimed,) = await h.claim_all(await h.agent(lease_s=1e6))
    assert claimed.method == OTHER_METHOD
    await h.end(claimed, code_pb2.INTERNAL)
    assert await shown(h, task_id) == (OTHER_METHOD, METHOD, State.FAILED)


async def test_it_survives_a_restart_in_each_state(h: Harness, store_factory: StoreFactory) -> None:
    keys = (("tenant", "a"),)
    other = Alternative(
        OTHER_METHOD, Requirements.of({}, {"gpu": 1}), TWICE, 30.0, 20.0, keys, (LockClaim("l", True),)
    )
    fresh, fallen, ended, deferred = [falling(other, Alternative(THIRD)) for _ in range(4)]
    owner = await h.agent(lease_s=1e6)
    ids = [await h.submit(each) for each in (fallen, ended)]
    for claimed in await h.claim_all(owner):
        await h.end(claimed, code_pb2.INTERNAL)
    (again,) = await h.claim_all(owner, 1)
    await h.end(again)
    # Stored, started and fallen back within one transaction.
    new = h.store.new_task_id(METHOD)
    await h.store.enqueue([replace(deferred, task_id=new)], acknowledged=False)
    (claimed,) = await h.claim(owner)
    await h.end(claimed, code_pb2.INTERNAL)
    ids += [new, await h.submit(fresh)]
    before = [(await h.record(task_id)) for task_id in ids]
    h2 = await store_factory.reopen(h, crash=True)
    for task_id, record in zip(ids, before, strict=True):
        after = await h2.record(task_id)
        assert after.submission == record.submission
        assert (after.state, after.attempt) == (record.state, record.attempt)
    await h2.pass_time(10.0)
    owner = await h2.agent("b", lease_s=1e6)
    claims = await h2.claim_all(owner)
    assert {each.method for each in claims} == {METHOD, OTHER_METHOD}
    assert all(each.attempt == 2 for each in claims if each.method == OTHER_METHOD)
