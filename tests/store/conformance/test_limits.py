"""Time: delays, the three limits, cancellation and its backstop."""

from __future__ import annotations

from typing import Any

import pytest
from google.rpc import code_pb2

from tests.store.support import METHOD, Harness, Revoked, error_of, reason_of, ref
from weft.coordinator.store.records import Submission, Verdict
from weft.coordinator.store.rules import Requirements, State, TaskRetryPolicy
from weft.coordinator.store.run_limits import RunLimitRule
from weft.rpc.errors import Cancelled, DeadlineExceeded


async def test_a_delayed_task_waits(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, delay_s=10.0))
    owner = await h.agent(lease_s=1000.0)
    assert await h.claim(owner) == []
    assert (await h.pass_time(9.9)).promoted == 0
    before = h.listener.ready_calls
    assert (await h.pass_time(0.2)).promoted == 1
    assert h.listener.ready_calls > before
    assert await h.state(task_id) is State.QUEUED
    assert (await h.claim_one(owner)).task_id == task_id


async def _limit_of(h: Harness, task_id: str) -> str:
    record = await h.record(task_id)
    assert record.state is State.FAILED
    assert isinstance(error_of(record), DeadlineExceeded)
    reason, metadata = reason_of(record)
    assert reason == "TIME_LIMIT"
    return metadata["limit"]


async def test_schedule_to_start(h: Harness) -> None:
    submission = Submission(METHOD, delay_s=5.0, schedule_to_start_s=10.0)
    ids = await h.submit_many([submission, submission])
    owner = await h.agent(lease_s=1000.0)
    await h.pass_time(14.0)
    claimed = await h.claim_one(owner)
    assert (await h.pass_time(1.0)).expired == 1
    assert await _limit_of(h, ids[1]) == "schedule_to_start"
    # It holds for the first attempt only.
    await h.end(claimed, crashed=True)
    await h.pass_time(60.0)
    assert await h.state(ids[0]) is State.QUEUED


async def test_an_expired_task_is_never_given_out(h: Harness) -> None:
    ids = await h.submit_many(
        [Submission(METHOD, schedule_to_start_s=1.0), Submission(METHOD, schedule_to_close_s=1.0)]
    )
    owner = await h.agent()
    h.clock.advance(1.0)
    # Not swept yet.
    assert await h.claim(owner, limit=5) == []
    await h.sweep()
    assert [await _limit_of(h, task_id) for task_id in ids] == ["schedule_to_start", "schedule_to_close"]


async def test_schedule_to_close_while_waiting_and_while_running(h: Harness) -> None:
    ids = await h.submit_many([Submission(METHOD, schedule_to_close_s=10.0)] * 2)
    claimed = await h.claim_one(await h.agent(lease_s=1000.0))
    assert claimed.deadline_at == h.clock() + 10.0
    assert (await h.pass_time(10.0)).expired == 1
    assert await _limit_of(h, ids[1]) == "schedule_to_close"
    # The agent enforces the limit; the store only steps in a second later.
    assert await h.state(ids[0]) is State.RUNNING
    assert (await h.pass_time(1.0)).expired == 1
    assert await _limit_of(h, ids[0]) == "schedule_to_close"
    (revoked,) = h.listener.revocations
    assert (revoked.owner, revoked.ref, revoked.lost) == (claimed.owner, ref(claimed), True)
    assert await h.end(claimed) is Verdict.STALE


async def test_a_result_within_the_backstop_counts(h: Harness) -> None:
    await h.submit(Submission(METHOD, schedule_to_close_s=10.0))
    claimed = await h.claim_one(await h.agent(lease_s=1000.0))
    await h.pass_time(10.5)
    assert await h.end(claimed) is Verdict.STORED


async def test_start_to_close_is_a_failed_attempt(h: Harness) -> None:
    policy = TaskRetryPolicy(
        max_attempts=2, initial_backoff_s=0.0, retryable_codes=frozenset({code_pb2.DEADLINE_EXCEEDED})
    )
    plain, named = await h.submit_many(
        [
            Submission(METHOD, start_to_close_s=5.0),
            Submission(METHOD, start_to_close_s=5.0, retry=policy),
        ]
    )
    owner = await h.agent(lease_s=1000.0)
    claims = await h.claim(owner, limit=2)
    assert {claimed.deadline_at for claimed in claims} == {h.clock() + 5.0}
    assert (await h.pass_time(5.9)).expired == 0
    assert (await h.pass_time(0.1)).expired == 2
    assert await _limit_of(h, plain) == "start_to_close"
    assert all(revoked.lost for revoked in h.listener.revocations)
    record = await h.record(named)
    assert (record.state, record.attempt, record.crashes) == (State.QUEUED, 1, 0)
    assert [await h.end(claimed) for claimed in claims] == [Verdict.STALE] * 2
    await h.claim_one(owner)
    await h.pass_time(6.0)
    assert await _limit_of(h, named) == "start_to_close"


async def test_the_nearer_deadline_holds(h: Harness) -> None:
    await h.submit(Submission(METHOD, start_to_close_s=5.0, schedule_to_close_s=8.0))
    owner = await h.agent(lease_s=1000.0)
    claimed = await h.claim_one(owner)
    assert claimed.deadline_at == h.clock() + 5.0
    h.clock.advance(4.0)
    await h.store.release(owner, [ref(claimed)])
    assert (await h.claim_one(owner)).deadline_at == h.clock() + 4.0


# -- cancellation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay_s", [0.0, 60.0])
async def test_what_does_not_run_is_cancelled_at_once(h: Harness, delay_s: float) -> None:
    task_id = await h.submit(Submission(METHOD, delay_s=delay_s, result_ttl_s=33.0))
    record = await h.cancel(task_id)
    assert record is not None
    assert (record.state, record.cancel_requested) == (State.CANCELLED, False)
    assert record.expires_at == h.clock() + 33.0
    assert isinstance(error_of(record), Cancelled)
    assert reason_of(record) == ("CANCELLED", {"reason": "not needed"})
    assert h.listener.states(task_id)[-1] is State.CANCELLED
    assert h.listener.revocations == []
    await h.pass_time(20.0)
    assert await h.claim(await h.agent()) == []
    again = await h.cancel(task_id)
    assert again is not None
    assert again.finished_at == record.finished_at


async def test_a_running_handler_is_told(h: Harness) -> None:
    task_id = await h.submit()
    claimed = await h.claim_one(await h.agent())
    record = await h.cancel(task_id, grace_s=3.0)
    assert record is not None
    assert (record.state, record.cancel_requested) == (State.RUNNING, True)
    assert h.listener.revocations == [Revoked(claimed.owner, ref(claimed), "not needed", 3.0, lost=False)]
    assert await h.end(claimed, code_pb2.CANCELLED, outcome=b"stopped") is Verdict.STORED
    record = await h.record(task_id)
    assert (record.state, record.outcome, record.cancel_requested) == (State.CANCELLED, b"stopped", False)


async def test_a_handler_that_finishes_all_the_same(h: Harness) -> None:
    ids = await h.submit_many([Submission(METHOD)] * 3)
    claims = await h.claim(await h.agent(), limit=3)
    for task_id in ids:
        await h.cancel(task_id)
    await h.end(claims[0])
    await h.end(claims[1], code_pb2.INTERNAL, outcome=b"broken")
    await h.end(claims[2], code_pb2.UNAVAILABLE)
    records = [await h.record(task_id) for task_id in ids]
    assert [record.state for record in records] == [State.SUCCEEDED, State.FAILED, State.CANCELLED]
    assert records[1].outcome == b"broken"
    assert reason_of(records[2])[0] == "CANCELLED"


async def test_a_handler_that_ignores_it_is_cut_off(h: Harness) -> None:
    task_id = await h.submit()
    claimed = await h.claim_one(await h.agent(lease_s=1000.0))
    await h.cancel(task_id, grace_s=3.0)
    assert (await h.pass_time(3.9)).expired == 0
    assert (await h.pass_time(0.2)).expired == 1
    assert await h.state(task_id) is State.CANCELLED
    assert h.listener.revocations[-1].lost
    assert await h.end(claimed) is Verdict.STALE


async def test_the_nearer_grace_holds(h: Harness) -> None:
    task_id = await h.submit()
    await h.claim_one(await h.agent(lease_s=1000.0))
    await h.cancel(task_id, grace_s=100.0)
    await h.cancel(task_id, grace_s=1.0)
    await h.cancel(task_id, grace_s=50.0)
    assert [revoked.grace_s for revoked in h.listener.revocations] == [100.0, 1.0]
    await h.pass_time(2.0)
    assert await h.state(task_id) is State.CANCELLED


async def test_a_cancelled_task_never_runs_again(h: Harness) -> None:
    ids = await h.submit_many([Submission(METHOD)] * 3)
    owner, other = await h.agent(), await h.agent("b")
    released, crashed = await h.claim(owner, limit=2)
    await h.claim_one(other)
    for task_id in ids:
        await h.cancel(task_id)
    await h.store.release(owner, [ref(released)])
    await h.end(crashed, crashed=True)
    await h.store.retire(other)
    assert [await h.state(task_id) for task_id in ids] == [State.CANCELLED] * 3
    assert await h.claim(owner, limit=5) == []


async def test_many_at_once(h: Harness) -> None:
    ids = await h.submit_many([Submission(METHOD)] * 100)
    records = await h.store.cancel([*ids, "nonsense"], "", 1.0)
    assert [record.state if record else None for record in records] == [State.CANCELLED] * 100 + [None]
    assert reason_of(await h.record(ids[0])) == ("CANCELLED", {})


EU = Requirements.of({"zone": "eu", "odd": "new\nline"}, {})
CLOSE = {"schedule_to_close_s": 10.0}
RETRYING = TaskRetryPolicy(max_attempts=4, initial_backoff_s=0.01)


@pytest.mark.parametrize(
    ("given", "moves", "limit", "said"),
    [
        ({**CLOSE}, "", "schedule_to_close", "queued 10.0 s for an agent for it"),
        ({**CLOSE}, "pause", "schedule_to_close", "queued 10.0 s for an agent for it, paused"),
        (
            {**CLOSE, "requirements": EU},
            "",
            "schedule_to_close",
            "queued 10.0 s for an agent for odd=new\nline,zone=eu",
        ),
        ({"schedule_to_start_s": 10.0}, "", "schedule_to_start", "queued 10.0 s for an agent for it"),
        ({**CLOSE, "delay_s": 4.0}, "", "schedule_to_close", "queued 6.0 s for an agent for it"),
        ({**CLOSE, "delay_s": 13.0}, "", "schedule_to_close", "waited for its start time, in 3.0 s"),
        ({**CLOSE}, "claim", "schedule_to_close", "attempt 1 of 5 was running at agent a1 for 11.0 s"),
        (
            {"start_to_close_s": 10.0},
            "claim",
            "start_to_close",
            "attempt 1 of 5 was running at agent a1 for 11.0 s",
        ),
        ({**CLOSE}, "claim crash", "schedule_to_close", "queued 10.0 s for an agent for it, not a1"),
        (
            {**CLOSE},
            "claim crash claim",
            "schedule_to_close",
            "attempt 2 of 5 was running at agent a1 for 11.0 s",
        ),
        (
            {"schedule_to_close_s": 10.0, "retry": RETRYING},
            "claim fail",
            "schedule_to_close",
            "waited for its next try, 2 of 4, in ",
        ),
    ],
)
async def test_the_outcome_of_a_passed_limit_says_what_was_waited_for(
    h: Harness, given: dict[str, Any], moves: str, limit: str, said: str
) -> None:
    task_id = await h.submit(Submission(METHOD, **given))
    owner = await h.agent("a1", lease_s=1000.0)
    for move in moves.split():
        if move == "pause":
            await h.store.set_paused(METHOD, paused=True)
        elif move == "claim":
            claimed = await h.claim_one(owner)
        else:
            crashed = move == "crash"
            await h.end(claimed, code_pb2.UNAVAILABLE, crashed=crashed, retry_after_s=9.999)
    for seconds in (5.0, 5.0, 1.0):
        await h.pass_time(seconds)
    assert await _limit_of(h, task_id) == limit
    record = await h.record(task_id)
    message = error_of(record).message
    assert message.startswith(f"the time limit {limit} passed: {said}")
    assert any(each.task_id == task_id and each.outcome == record.outcome for each in h.listener.changes)


async def test_the_outcome_of_a_parked_task_names_its_limit(h: Harness) -> None:
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(1)})
    ids = await h.submit_many([Submission(METHOD, schedule_to_close_s=10.0)] * 2)
    assert len(await h.claim(await h.agent(lease_s=1000.0), limit=2)) == 1
    await h.pass_time(10.0)
    assert await _limit_of(h, ids[1]) == "schedule_to_close"
    message = error_of(await h.record(ids[1])).message
    assert message == f"the time limit schedule_to_close passed: queued 10.0 s for the run limit of {METHOD}"
