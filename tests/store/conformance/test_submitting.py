"""Submissions: the stored fields, and request ids."""

from __future__ import annotations

from dataclasses import replace

import pytest
from google.rpc import code_pb2

from tests.store.support import METHOD, OTHER_METHOD, Harness
from weft.coordinator.store.records import Enqueued, RequestIdReused, Submission, TooManyQueues
from weft.coordinator.store.rules import REQUEST_ID_TTL_S, QueueKey, Requirements, State, TaskRetryPolicy
from weft.coordinator.store.run_limits import LimitAction, RunLimitRule

FULL = Submission(
    METHOD,
    b"payload \x00\xff",
    request_id="order-1",
    priority=8,
    delay_s=1.5,
    schedule_to_start_s=60.0,
    start_to_close_s=10.0,
    schedule_to_close_s=600.0,
    retry=TaskRetryPolicy(7, 0.2, 9.0, 3.0, frozenset({code_pb2.INTERNAL, code_pb2.UNAVAILABLE}), 1),
    requirements=Requirements.of({"zone": "eu"}, {"gpu": 2.0}),
    context=b"context",
    result_ttl_s=5.0,
    failure_ttl_s=50.0,
)


async def test_a_task_comes_back_as_it_was_submitted(h: Harness) -> None:
    task_id = await h.submit(FULL)
    record = await h.record(task_id)
    assert record.submission == replace(FULL, task_id=task_id)
    assert record.state is State.SCHEDULED
    assert record.created_at == h.clock()
    assert record.ready_at == h.clock() + 1.5
    (bare,) = await h.store.get([task_id], payloads=False)
    assert bare is not None
    assert (bare.submission.payload, bare.submission.context) == (b"", b"")
    assert bare.submission.request_id == "order-1"


async def test_a_finished_task_comes_back_as_it_was_submitted(h: Harness) -> None:
    submission = replace(FULL, delay_s=0.0)
    task_id = await h.submit(submission)
    (claimed,) = await h.claim(await h.agent(), requirements=submission.requirements)
    assert (claimed.payload, claimed.context, claimed.priority) == (FULL.payload, FULL.context, 8)
    assert claimed.request_id == "order-1"
    await h.end(claimed)
    record = await h.record(task_id)
    assert record.submission == replace(submission, task_id=task_id)
    assert (record.state, record.outcome, record.attempt) == (State.SUCCEEDED, b"outcome", 1)
    assert (record.started_at, record.finished_at) == (h.clock(), h.clock())
    assert record.expires_at == h.clock() + FULL.result_ttl_s
    assert record.agent_id == "a"


async def test_ids_are_unique_and_in_order(h: Harness) -> None:
    ids = [await h.submit() for _ in range(3)] + await h.submit_many([Submission(METHOD)] * 500)
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)


async def test_a_caller_may_know_the_id_before(h: Harness) -> None:
    task_id = h.store.new_task_id(METHOD)
    assert await h.store.get([task_id]) == [None]
    assert await h.submit(Submission(METHOD, task_id=task_id)) == task_id
    assert await h.state(task_id) is State.QUEUED


@pytest.mark.parametrize("task_id", ["", "nonsense", "0" * 16, "f" * 16, "é" * 16, "x" * 10_000])
async def test_an_id_that_was_never_given_out_is_no_task(h: Harness, task_id: str) -> None:
    known = await h.submit()
    assert [record is None for record in await h.store.get([task_id, known])] == [True, False]
    assert await h.cancel(task_id) is None
    assert await h.store.retry(task_id) is None
    assert await h.store.read_progress(task_id, 0, 10) == []


async def test_a_request_id_stands_for_one_task(h: Harness) -> None:
    first = Submission(METHOD, b"1", request_id="r")
    results = await h.store.enqueue([first, first, Submission(METHOD, b"2", request_id="r")])
    stored = results[0]
    assert isinstance(stored, Enqueued)
    task_id = stored.task_id
    assert list(results) == [
        Enqueued(task_id),
        Enqueued(task_id, existed=True),
        RequestIdReused(task_id),
    ]
    again = await h.store.enqueue([first, Submission(OTHER_METHOD, b"1", request_id="r")])
    assert list(again) == [Enqueued(task_id, existed=True), RequestIdReused(task_id)]
    assert h.store.unfinished() == 1
    assert h.store.ready_depths() == {QueueKey(METHOD): 1}


async def test_honest_repeats_differ_in_limits_and_context(h: Harness) -> None:
    first = Submission(METHOD, b"1", request_id="r", schedule_to_close_s=3.0, context=b"span 1")
    task_id = await h.submit(first)
    repeat = replace(first, schedule_to_close_s=2.9, context=b"span 2", task_id=h.store.new_task_id(METHOD))
    assert list(await h.store.enqueue([repeat])) == [Enqueued(task_id, existed=True)]


async def test_one_request_may_have_several_payloads(h: Harness) -> None:
    """Its serializations: whoever checks a submission says by the digest which requests are the same."""
    first = Submission(METHOD, b"ab", request_id="r", request_digest=b"one request....")
    task_id = await h.submit(first)
    results = await h.store.enqueue(
        [replace(first, payload=b"ba"), replace(first, request_digest=b"another request")]
    )
    assert list(results) == [Enqueued(task_id, existed=True), RequestIdReused(task_id)]


async def test_a_request_id_outlives_the_task(h: Harness) -> None:
    submission = Submission(METHOD, b"1", request_id="r", result_ttl_s=10.0)
    task_id = await h.submit(submission)
    await h.end(await h.claim_one(await h.agent(lease_s=1e6)))
    assert list(await h.store.enqueue([submission])) == [Enqueued(task_id, existed=True)]
    await h.pass_time(11.0)
    assert list(await h.store.enqueue([submission])) == [Enqueued(task_id, existed=True)]
    record = await h.record(task_id)
    assert record.expired
    assert (record.state, record.outcome, record.submission.payload) == (State.SUCCEEDED, b"", b"")
    await h.pass_time(REQUEST_ID_TTL_S)
    assert await h.store.get([task_id]) == [None]
    assert await h.submit(submission) != task_id


async def test_a_task_that_nobody_was_told_of_lives_all_the_same(h: Harness) -> None:
    task_id, quick = h.store.new_task_id(METHOD), h.store.new_task_id(METHOD)
    for new in (task_id, quick):
        submission = Submission(METHOD, b"payload", task_id=new, request_id=new)
        assert list(await h.store.enqueue([submission], acknowledged=False)) == [Enqueued(new)]
    owner = await h.agent()
    claimed = await h.claim_one(owner)
    assert (claimed.task_id, claimed.payload) == (task_id, b"payload")
    # Whatever is durable later was preceded by it.
    await h.end(claimed)
    assert await h.state(task_id) is State.SUCCEEDED
    assert await h.state(quick) is State.QUEUED
    assert h.listener.states(task_id)[-1] is State.SUCCEEDED
    repeat = Submission(METHOD, b"payload", request_id=quick)
    assert list(await h.store.enqueue([repeat])) == [Enqueued(quick, existed=True)]


async def test_a_repeat_makes_sure_of_a_task_that_nobody_was_told_of(h: Harness) -> None:
    submission = Submission(METHOD, b"payload", task_id=h.store.new_task_id(METHOD), request_id="r")
    await h.store.enqueue([submission], acknowledged=False)
    (result,) = await h.store.enqueue([replace(submission, task_id="")])
    assert result == Enqueued(submission.task_id, existed=True)
    assert await h.state(submission.task_id) is State.QUEUED


async def test_nothing_to_store(h: Harness) -> None:
    assert list(await h.store.enqueue([])) == []
    assert list(await h.store.complete([])) == []
    assert list(await h.store.get([])) == []
    assert list(await h.store.claim([])) == []


@pytest.mark.parametrize("ttl_s", [60.0, 4000.0])
async def test_a_request_id_is_kept_as_long_as_was_asked(h: Harness, ttl_s: float) -> None:
    """And never shorter than its task."""
    given = Submission(METHOD, b"a", request_id="r", request_id_ttl_s=ttl_s, result_ttl_s=600.0)
    task_id = await h.submit(given)
    await h.end(await h.claim_one(await h.agent(lease_s=1e9)))
    await h.pass_time(599.0)
    assert await h.store.enqueue([given]) == [Enqueued(task_id, existed=True)]
    await h.pass_time(2.0)
    if ttl_s > 601.0:
        assert await h.store.enqueue([given]) == [Enqueued(task_id, existed=True)]
        assert (await h.record(task_id)).expired
        await h.pass_time(ttl_s - 601.0)
    assert await h.find() == []
    assert await h.submit(given) != task_id


async def test_a_method_has_so_many_queues(h: Harness) -> None:
    """Each set of requirements makes one; those that are there take more tasks, and one that is empty makes room."""
    limit = 1024
    given = [
        Submission(METHOD, requirements=Requirements.of({"n": f"{n}"}, {}), request_id=f"r{n}")
        for n in range(limit)
    ]
    ids = await h.submit_many(given)
    more = Submission(METHOD, requirements=Requirements.of({"n": "more"}, {}))
    also = Submission(OTHER_METHOD, requirements=Requirements.of({"n": "more"}, {}), delay_s=5.0)
    answers = await h.store.enqueue(
        [more, replace(given[0], request_id=""), Submission(METHOD), also, given[1]]
    )
    full = TooManyQueues(METHOD, limit)
    assert answers[0] == full
    assert [type(answer) for answer in answers[1:]] == [Enqueued] * 4
    assert answers[4] == Enqueued(ids[1], existed=True)
    assert await h.store.enqueue([replace(more, request_id="more")]) == [full]
    assert len(await h.store.depths()) == limit + 2
    # The last task of a queue ends: there is room for another.
    await h.cancel(ids[5])
    assert isinstance((await h.store.enqueue([replace(more, request_id="more")]))[0], Enqueued)
    assert await h.store.enqueue([given[5]]) == [Enqueued(ids[5], existed=True)]
    for task_id in await h.find(limit=2000):
        await h.cancel(task_id)
    assert await h.store.depths() == {}
    assert len(await h.submit_many([replace(one, request_id="") for one in given])) == limit


async def test_retries_make_no_requirements_of_their_own(h: Harness) -> None:
    """However many agents have failed tasks of a method, as many different requirements are taken; and no retry is refused."""
    limit = 1024
    given = [Submission(METHOD, requirements=Requirements.of({"n": f"{n}"}, {})) for n in range(limit + 1)]
    owners = [await h.agent(agent_id, lease_s=1e9) for agent_id in ("a", "b")]
    await h.submit_many([*given[:2], *[Submission(METHOD)] * 2])
    for owner in owners:
        for n in range(2):
            await h.end((await h.claim(owner, requirements=given[n].requirements))[0], code_pb2.UNAVAILABLE)
        await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE)
        await h.pass_time(60.0)
    await h.submit_many(given[2:limit])
    assert await h.store.enqueue([given[limit]]) == [TooManyQueues(METHOD, limit)]
    assert isinstance((await h.store.enqueue([given[0]]))[0], Enqueued)
    for n in range(2):
        for claimed in await h.claim(owners[0], 9, requirements=given[n].requirements):
            await h.end(claimed, code_pb2.UNAVAILABLE)
    await h.pass_time(60.0)
    assert await h.store.enqueue([given[limit]]) == [TooManyQueues(METHOD, limit)]
    for task_id in await h.find(limit=2000):
        await h.cancel(task_id)
    assert await h.store.depths() == {}
    await h.submit_many(given[:limit])
    assert await h.store.enqueue([given[limit]]) == [TooManyQueues(METHOD, limit)]


async def test_a_task_that_failed_elsewhere_is_stored_as_failed(h: Harness) -> None:
    """It can be queued again like any other failed task, and no run limit refuses it."""
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(max_running=1, at_limit=LimitAction.REFUSE)})
    waiting = await h.submit()
    task_id = await h.submit(replace(FULL, ended=(State.FAILED, b"outcome")))
    record = await h.record(task_id)
    assert (record.state, record.outcome, record.attempt) == (State.FAILED, b"outcome", 0)
    assert record.submission == replace(FULL, task_id=task_id)
    assert record.expires_at == h.clock() + FULL.failure_ttl_s
    assert h.store.unfinished() == 1
    repeated = await h.store.enqueue([replace(FULL, ended=(State.FAILED, b"other"))])
    assert repeated == [Enqueued(task_id, existed=True)]
    await h.cancel(waiting)
    again = await h.store.retry(task_id)
    assert again is not None
    assert again.state is State.QUEUED
    assert (await h.record(task_id)).submission.payload == FULL.payload
