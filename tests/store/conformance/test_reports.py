"""Ends of attempts: fences, retries, backoff, crashes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from google.rpc import code_pb2

from tests.store.support import METHOD, Harness, reason_of, ref
from weft.coordinator.store.records import AttemptReport, Claimed, Owner, Submission, Verdict
from weft.coordinator.store.rules import State, TaskRetryPolicy

STEADY = TaskRetryPolicy(max_attempts=3, initial_backoff_s=8.0, max_backoff_s=8.0, backoff_multiplier=1.0)


async def test_an_outcome_is_stored_once(h: Harness) -> None:
    task_id = await h.submit()
    claimed = await h.claim_one(await h.agent())
    assert await h.end(claimed, outcome=b"first") is Verdict.STORED
    # The same report again, after a lost acknowledgement, gets the same answer and changes nothing.
    assert await h.end(claimed, outcome=b"second") is Verdict.STORED
    record = await h.record(task_id)
    assert (record.state, record.outcome) == (State.SUCCEEDED, b"first")
    assert h.listener.states(task_id).count(State.SUCCEEDED) == 1


async def test_of_two_reports_at_once_one_counts(h: Harness) -> None:
    task_id = await h.submit()
    claimed = await h.claim_one(await h.agent())
    verdicts = await asyncio.gather(*(h.end(claimed, outcome=bytes([i])) for i in range(5)))
    assert set(verdicts) == {Verdict.STORED}
    assert (await h.record(task_id)).outcome == b"\x00"


async def test_stale_reports_are_refused(h: Harness) -> None:
    task_id = await h.submit()
    claimed = await h.claim_one(await h.agent())
    other = await h.agent("b")
    wrong = [
        replace(claimed, owner=other),
        replace(claimed, owner=Owner("a", claimed.owner.epoch + 1)),
        replace(claimed, attempt=2),
        replace(claimed, attempt=0),
        replace(claimed, task_id=h.store.new_task_id(METHOD)),
        replace(claimed, task_id="nonsense"),
    ]
    for stale in wrong:
        assert await h.end(stale) is Verdict.STALE
    assert await h.state(task_id) is State.RUNNING
    assert await h.end(claimed) is Verdict.STORED
    for stale in wrong:
        assert await h.end(stale) is Verdict.STALE


async def test_reports_in_one_call_are_judged_one_by_one(h: Harness) -> None:
    ids = await h.submit_many([Submission(METHOD)] * 3)
    claims = await h.claim(await h.agent(), limit=3)
    reports = [AttemptReport(c.owner, c.task_id, c.attempt, 0, b"o") for c in claims]
    reports[1] = replace(reports[1], attempt=5)
    assert list(await h.store.complete([*reports, reports[0]])) == [
        Verdict.STORED,
        Verdict.STALE,
        Verdict.STORED,
        Verdict.STORED,
    ]
    assert [await h.state(task_id) for task_id in ids] == [State.SUCCEEDED, State.RUNNING, State.SUCCEEDED]


async def test_a_failure_that_may_be_retried_waits_and_runs_again(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, b"payload", retry=STEADY))
    owner = await h.agent(lease_s=1000)
    claimed = await h.claim_one(owner)
    assert await h.end(claimed, code_pb2.UNAVAILABLE, outcome=b"try 1") is Verdict.RETRYING
    assert await h.end(claimed, code_pb2.UNAVAILABLE, outcome=b"try 1") is Verdict.RETRYING
    record = await h.record(task_id)
    assert (record.state, record.attempt, record.outcome) == (State.SCHEDULED, 1, b"try 1")
    assert h.clock() <= record.ready_at <= h.clock() + 8.0
    assert await h.claim(owner) == []
    report = await h.pass_time(8.0)
    assert report.promoted == 1
    second = await h.claim_one(owner)
    assert (second.attempt, second.payload) == (2, b"payload")
    assert await h.end(claimed) is Verdict.STALE
    assert await h.end(second) is Verdict.STORED
    record = await h.record(task_id)
    assert (record.state, record.attempt, record.crashes) == (State.SUCCEEDED, 2, 0)


async def test_attempts_run_out(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, retry=STEADY, failure_ttl_s=77.0))
    owner = await h.agent(lease_s=1000)
    verdicts = []
    for attempt in range(3):
        verdicts.append(await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE, outcome=bytes([attempt])))
        await h.pass_time(8.0)
    assert verdicts == [Verdict.RETRYING, Verdict.RETRYING, Verdict.STORED]
    record = await h.record(task_id)
    assert (record.state, record.outcome, record.attempt) == (State.FAILED, b"\x02", 3)
    assert record.expires_at == h.clock() - 8.0 + 77.0


async def test_a_repeated_report_gets_its_own_answer_whatever_came_later(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, retry=STEADY))
    claimed = await h.claim_one(await h.agent())
    assert await h.end(claimed, code_pb2.UNAVAILABLE) is Verdict.RETRYING
    await h.cancel(task_id)
    assert await h.end(claimed, code_pb2.UNAVAILABLE) is Verdict.RETRYING
    await h.store.retry(task_id)
    assert await h.end(claimed, code_pb2.UNAVAILABLE) is Verdict.STALE


async def _code(h: Harness, policy: TaskRetryPolicy, code: int, *, final: bool = False) -> Verdict:
    await h.submit(Submission(METHOD, retry=policy))
    return await h.end(await h.claim_one(await h.agent()), code, final=final)


async def test_which_codes_are_retried(h: Harness) -> None:
    named = TaskRetryPolicy(retryable_codes=frozenset({code_pb2.INTERNAL, code_pb2.INVALID_ARGUMENT}))
    assert await _code(h, TaskRetryPolicy(), code_pb2.INTERNAL) is Verdict.STORED
    assert await _code(h, TaskRetryPolicy(), code_pb2.DEADLINE_EXCEEDED) is Verdict.STORED
    assert await _code(h, named, code_pb2.INTERNAL) is Verdict.RETRYING
    assert await _code(h, named, code_pb2.UNAVAILABLE) is Verdict.STORED
    assert await _code(h, named, code_pb2.INVALID_ARGUMENT) is Verdict.STORED
    assert await _code(h, named, code_pb2.INTERNAL, final=True) is Verdict.STORED


async def test_the_handler_says_when(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD))
    claimed = await h.claim_one(await h.agent())
    assert await h.end(claimed, code_pb2.UNAVAILABLE, retry_after_s=40.0) is Verdict.RETRYING
    assert (await h.record(task_id)).ready_at == h.clock() + 40.0


async def test_no_retry_past_the_end_of_its_time(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, schedule_to_close_s=30.0))
    claimed = await h.claim_one(await h.agent())
    assert await h.end(claimed, code_pb2.UNAVAILABLE, outcome=b"why", retry_after_s=40.0) is Verdict.STORED
    record = await h.record(task_id)
    assert (record.state, record.outcome) == (State.FAILED, b"why")


async def test_a_handler_that_says_cancelled_unasked_has_failed(h: Harness) -> None:
    policy = TaskRetryPolicy(retryable_codes=frozenset({code_pb2.CANCELLED}))
    task_id = await h.submit(Submission(METHOD, retry=policy))
    claimed = await h.claim_one(await h.agent())
    assert await h.end(claimed, code_pb2.CANCELLED, outcome=b"mine") is Verdict.STORED
    record = await h.record(task_id)
    assert (record.state, record.outcome) == (State.FAILED, b"mine")


async def test_crashes_are_counted_apart_and_have_an_end(h: Harness) -> None:
    policy = TaskRetryPolicy(max_attempts=1, max_crashes=2)
    task_id = await h.submit(Submission(METHOD, retry=policy))
    owner = await h.agent()
    for _ in range(2):
        claimed = await h.claim_one(owner)
        assert await h.end(claimed, code_pb2.UNAVAILABLE, crashed=True) is Verdict.RETRYING
    assert (await h.record(task_id)).crashes == 2
    assert await h.state(task_id) is State.QUEUED
    assert await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE, crashed=True) is Verdict.STORED
    record = await h.record(task_id)
    assert (record.state, record.crashes, record.attempt) == (State.FAILED, 3, 3)
    assert reason_of(record) == ("CRASH_LOOP", {"crashes": "3"})


async def test_crashes_cost_no_attempts(h: Harness) -> None:
    policy = TaskRetryPolicy(max_attempts=2, initial_backoff_s=0.0, max_crashes=5)
    await h.submit(Submission(METHOD, retry=policy))
    owner = await h.agent()
    for _ in range(3):
        await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE, crashed=True)
    assert await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE) is Verdict.RETRYING
    assert await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE) is Verdict.STORED


async def test_a_released_attempt_never_was(h: Harness) -> None:
    task_id = await h.submit()
    owner = await h.agent()
    claimed = await h.claim_one(owner)
    before = h.listener.ready_calls
    assert list(await h.store.release(owner, [ref(claimed), ref(claimed)])) == [True, False]
    assert h.listener.ready_calls > before
    assert await h.end(claimed) is Verdict.STALE
    record = await h.record(task_id)
    assert (record.state, record.attempt, record.crashes) == (State.QUEUED, 0, 0)
    other = await h.agent("b")
    again = await h.claim_one(other)
    assert (again.task_id, again.attempt) == (task_id, 1)
    # Same number, another epoch: the old owner's word does not count.
    assert await h.end(claimed) is Verdict.STALE
    assert list(await h.store.release(owner, [ref(claimed)])) == [False]
    assert await h.end(again) is Verdict.STORED


async def test_released_tasks_keep_their_place(h: Harness) -> None:
    ids = await h.submit_many([Submission(METHOD)] * 3)
    owner = await h.agent()
    claimed: Claimed = await h.claim_one(owner)
    await h.store.release(owner, [ref(claimed)])
    assert [c.task_id for c in await h.claim(owner, limit=3)] == ids


async def test_outcomes_are_told_to_followers_only(h: Harness) -> None:
    ids = await h.submit_many([Submission(METHOD)] * 2)
    h.listener.followed = {ids[1]}
    h.listener.changes.clear()
    for claimed in await h.claim(await h.agent(), limit=2):
        await h.end(claimed)
    assert {record.task_id for record in h.listener.changes} == {ids[1]}
    last = h.listener.changes[-1]
    assert (last.state, last.outcome, last.submission.payload) == (State.SUCCEEDED, b"outcome", b"")
    assert last.finished_at == h.clock()
