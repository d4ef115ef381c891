"""The attempts of a task: earlier ones are kept in its history, the last one follows from the task itself."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from tests.store.support import METHOD, Harness, StoreFactory, ref
from weft.coordinator.store import history
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import TaskRetryPolicy
from weft.v1 import task_pb2

MANY = TaskRetryPolicy(max_attempts=40, initial_backoff_s=0.0, max_crashes=40)


async def told(h: Harness, task_id: str) -> list[task_pb2.Attempt]:
    (record,) = await h.store.get([task_id], history=True)
    assert record is not None
    return [history.message(attempt) for attempt in history.attempts(record)]


async def short(h: Harness, task_id: str) -> list[tuple[int, str, int]]:
    """Number, agent and code of each attempt; -1: it has not ended."""
    return [
        (each.number, each.agent_id, each.status.code if each.HasField("end_time") else -1)
        for each in await told(h, task_id)
    ]


def failure(code: int, message: str, raised: str = "", **about: str) -> bytes:
    outcome = task_pb2.Outcome(status=status_pb2.Status(code=code, message=message))
    outcome.status.details.add().Pack(error_details_pb2.ErrorInfo(reason="R", metadata=about))
    outcome.trailers.add(key="k", value=b"v")
    if raised:
        outcome.error.CopyFrom(task_pb2.HandlerError(type="ValueError", message=raised, stack="a stack"))
    return outcome.SerializeToString()


async def test_the_only_attempt_follows_from_the_task(h: Harness) -> None:
    task_id = await h.submit()
    assert await told(h, task_id) == []
    owner = await h.agent(lease_s=1e6)
    claimed = await h.claim_one(owner)
    began_at = h.clock()
    assert await short(h, task_id) == [(1, "a", -1)]
    h.clock.advance(2.0)
    outcome = task_pb2.Outcome(response=b"large").SerializeToString()
    await h.end(claimed, outcome=outcome)
    (only,) = await told(h, task_id)
    assert (only.start_time.seconds, only.end_time.seconds) == (int(began_at), int(began_at) + 2)
    assert only.status == status_pb2.Status()
    (record,) = await h.store.get([task_id], history=True)
    assert record is not None
    assert record.history == ()


async def test_failures_are_kept_without_what_is_large(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, retry=TaskRetryPolicy(3, 8.0, 8.0, 1.0)))
    owner, other = await h.agent(lease_s=1e6), await h.agent("b", 1e6)
    await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE, outcome=failure(14, "x" * 5000, "y" * 5000))
    (first,) = await told(h, task_id)
    assert (first.number, first.agent_id, first.status.code) == (1, "a", 14)
    assert (len(first.status.message), len(first.error.message)) == (1024, 1024)
    assert (first.error.type, first.error.stack, len(first.status.details)) == ("ValueError", "", 0)
    record = (await h.store.get([task_id]))[0]
    assert record is not None
    assert record.failures == 1
    await h.pass_time(8.0)
    claimed = await h.claim_one(other)
    assert await short(h, task_id) == [(1, "a", 14), (2, "b", -1)]
    await h.end(claimed, code_pb2.INTERNAL, outcome=failure(13, "at last", "bad"))
    ends = await told(h, task_id)
    assert [(each.number, each.status.code) for each in ends] == [(1, 14), (2, 13)]
    # The last one has all that the task has.
    assert (len(ends[1].status.details), ends[1].error.stack) == (1, "a stack")


async def test_an_outcome_that_is_none_is_kept_by_its_code(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, retry=TaskRetryPolicy(3, 8.0, 8.0, 1.0)))
    await h.end(await h.claim_one(await h.agent()), code_pb2.UNAVAILABLE, outcome=b"\xff\xff")
    assert await short(h, task_id) == [(1, "a", 14)]


async def test_lost_and_released_attempts_are_told(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, retry=MANY))
    owner = await h.agent(lease_s=5.0)
    await h.store.release(owner, [ref(await h.claim_one(owner))])
    after_release = await h.claim_one(owner)
    await h.pass_time(6.0)
    other = await h.agent("b", 1e6)
    after_loss = await h.claim_one(other)
    await h.end(after_loss, code_pb2.UNAVAILABLE, outcome=failure(14, "died"), crashed=True)
    attempts = await told(h, task_id)
    assert [(a.number, a.agent_id, a.released, a.crashed, a.status.code) for a in attempts] == [
        (1, "a", True, False, 0),
        (1, "a", False, True, 14),
        (2, "b", False, True, 14),
    ]
    assert [a.status.message for a in attempts] == ["", "the agent was lost", "died"]
    # Only an attempt that was lost with its agent has nobody else to tell of it.
    after_crash = await h.claim_one(other)
    reruns = [each.rerun for each in (after_release, after_loss, after_crash)]
    assert [rerun is not None and rerun.lost_since is not None for rerun in reruns] == [False, True, False]
    assert reruns[1] is not None
    assert (reruns[1].number, reruns[1].agent_id) == (attempts[1].number, "a")


async def test_what_a_limit_ended_is_told(h: Harness) -> None:
    policy = TaskRetryPolicy(3, 0.0, 8.0, 1.0, frozenset({code_pb2.DEADLINE_EXCEEDED}))
    task_id = await h.submit(Submission(METHOD, retry=policy, start_to_close_s=2.0))
    await h.claim_one(await h.agent(lease_s=1e6))
    await h.pass_time(3.5)
    ((number, agent_id, code),) = await short(h, task_id)
    assert (number, agent_id, code) == (1, "a", code_pb2.DEADLINE_EXCEEDED)
    assert "start_to_close" in (await told(h, task_id))[0].status.message


async def test_the_first_and_the_newest_fifteen_are_told(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, retry=MANY))
    owner = await h.agent(lease_s=1e6)
    for number in range(1, 21):
        await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE, outcome=failure(14, str(number)))
        assert len(await told(h, task_id)) == min(number, 16)
    assert [each.number for each in await told(h, task_id)] == [1, *range(6, 21)]
    await h.end(await h.claim_one(owner))
    assert [each.number for each in await told(h, task_id)] == [1, *range(7, 22)]


@pytest.mark.parametrize("crash", [False, True])
async def test_a_retry_goes_on_with_the_history(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    task_id = await h.submit()
    await h.end(await h.claim_one(await h.agent()), code_pb2.INTERNAL, outcome=failure(13, "one", "bad"))
    await h.store.retry(task_id)
    (first,) = await told(h, task_id)
    assert (first.number, first.status.code, first.status.message, first.error.message) == (
        1,
        13,
        "one",
        "bad",
    )
    assert (first.HasField("start_time"), first.HasField("end_time"), first.error.stack) == (True, True, "")
    h = await store_factory.reopen(h, crash=crash)
    assert await told(h, task_id) == [first]
    if store_factory.forgets_claims:
        await h.pass_time(6.0)
    await h.end(await h.claim_one(await h.agent("b", instance_id="other")))
    assert await short(h, task_id) == [(1, "a", 13), (2, "b", 0)]


async def test_a_forgotten_result_has_no_history(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, request_id="r", retry=MANY, result_ttl_s=5.0))
    owner = await h.agent(lease_s=1e6)
    await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE, outcome=failure(14, "x"))
    await h.end(await h.claim_one(owner))
    await h.pass_time(6.0)
    (record,) = await h.store.get([task_id], history=True)
    assert record is not None
    assert (record.expired, len(record.history)) == (True, 0)


async def test_history_is_read_where_it_is_asked_for(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, retry=MANY))
    owner = await h.agent(lease_s=1e6)
    await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE, outcome=failure(14, "x"))
    await h.end(await h.claim_one(owner))
    assert (await h.record(task_id)).history == ()
    assert len(await told(h, task_id)) == 2
