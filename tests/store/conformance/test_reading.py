"""Listing, retrying by hand, and forgetting."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2

from tests.store.support import METHOD, OTHER_METHOD, Harness, error_of
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import ProgressVerdict, Submission, Verdict
from weft.coordinator.store.rules import State, TaskRetryPolicy
from weft.rpc.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound
from weft.rpc.times import seconds, timestamp


async def _one_of_each(h: Harness) -> dict[State, str]:
    owner = await h.agent(lease_s=1e6)
    order = (State.SUCCEEDED, State.FAILED, State.RUNNING)
    ids: dict[State, str] = dict(zip(order, await h.submit_many([Submission(METHOD)] * 3), strict=True))
    claims = await h.claim(owner, limit=3)
    await h.end(claims[0])
    await h.end(claims[1], code_pb2.INTERNAL)
    ids[State.CANCELLED] = await h.submit()
    await h.cancel(ids[State.CANCELLED])
    ids[State.SCHEDULED] = await h.submit(Submission(METHOD, delay_s=60.0))
    ids[State.QUEUED] = await h.submit(Submission(OTHER_METHOD))
    return ids


async def test_listing_by_state(h: Harness) -> None:
    ids = await _one_of_each(h)
    assert await h.find() == sorted(ids.values(), reverse=True)
    for state, task_id in ids.items():
        assert await h.find(ListFilter(frozenset({state}))) == [task_id]
    mixed = frozenset({State.RUNNING, State.FAILED, State.QUEUED})
    assert set(await h.find(ListFilter(mixed))) == {ids[state] for state in mixed}
    waiting = frozenset({State.RUNNING, State.SCHEDULED})
    assert set(await h.find(ListFilter(waiting))) == {ids[state] for state in waiting}


async def test_listing_by_method_and_time(h: Harness) -> None:
    began = h.clock()
    ids = []
    for method in (METHOD, OTHER_METHOD, METHOD):
        ids.append(await h.submit(Submission(method)))
        h.clock.advance(10.0)
    assert await h.find(ListFilter(method=METHOD)) == [ids[2], ids[0]]
    assert await h.find(ListFilter(created_from=began + 10.0)) == [ids[2], ids[1]]
    assert await h.find(ListFilter(created_to=began + 10.0)) == [ids[0]]
    assert await h.find(ListFilter(method=METHOD, created_from=began + 0.001)) == [ids[2]]
    running = ListFilter(frozenset({State.RUNNING}), method=OTHER_METHOD)
    await h.claim(await h.agent(), limit=5, methods=(METHOD, OTHER_METHOD))
    assert await h.find(running) == [ids[1]]


async def test_listing_from_a_tasks_own_creation(h: Harness) -> None:
    """However long ago its id was made, and whatever the clock shows past the microsecond."""
    ids = []
    for _ in range(50):
        task_id = h.store.new_task_id(METHOD)
        h.clock.advance(0.001_234_567_8)
        ids.append(await h.submit(Submission(METHOD, task_id=task_id)))
        h.clock.advance(0.000_000_3)
    for at, task_id in enumerate(ids):
        created_at = seconds(timestamp((await h.record(task_id)).created_at))
        assert await h.find(ListFilter(created_from=created_at)) == ids[at:][::-1]


async def test_records_in_a_list(h: Harness) -> None:
    await h.submit(Submission(METHOD, b"payload", context=b"context"))
    await h.end(await h.claim_one(await h.agent()))
    (bare,) = (await h.store.list_tasks(ListFilter(), limit=10)).records
    assert (bare.submission.payload, bare.submission.context) == (b"", b"")
    (full,) = (await h.store.list_tasks(ListFilter(), limit=10, payloads=True)).records
    assert (full.submission.payload, full.submission.context) == (b"payload", b"context")
    assert full.outcome == b"outcome"


@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_pages_hold_every_task_once(h: Harness, limit: int) -> None:
    ids = await h.submit_many([Submission(METHOD)] * 50)
    for claimed in await h.claim(await h.agent(), limit=20):
        await h.end(claimed)
    assert await h.find(limit=limit) == ids[::-1]
    assert await h.find(ListFilter(frozenset({State.QUEUED})), limit=limit) == ids[:19:-1]
    assert await h.find(ListFilter(frozenset({State.SUCCEEDED})), limit=limit) == ids[19::-1]


async def test_pages_stay_whole_while_tasks_come_and_end(h: Harness) -> None:
    ids = await h.submit_many([Submission(METHOD)] * 30)
    owner = await h.agent()
    seen: list[str] = []
    cursor = ""
    for _ in range(100):
        page = await h.store.list_tasks(ListFilter(), limit=4, cursor=cursor)
        seen += [record.task_id for record in page.records]
        await h.submit()
        await h.end(await h.claim_one(owner))
        cursor = page.cursor
        if not cursor:
            break
    assert [task_id for task_id in seen if task_id in ids] == ids[::-1]
    assert len(seen) == len(set(seen))


async def test_running_in_pages(h: Harness) -> None:
    ids = await h.submit_many([Submission(METHOD)] * 10)
    await h.claim(await h.agent(), limit=10)
    assert await h.find(ListFilter(frozenset({State.RUNNING})), limit=3) == ids[::-1]


async def test_a_foreign_cursor(h: Harness) -> None:
    with pytest.raises(InvalidArgument):
        await h.store.list_tasks(ListFilter(), limit=10, cursor="page two, please")


# -- RetryTask --------------------------------------------------------------------------------------------------------


async def test_a_failed_task_is_queued_again_with_fresh_budgets(h: Harness) -> None:
    policy = TaskRetryPolicy(max_attempts=1, max_crashes=0)
    task_id = await h.submit(Submission(METHOD, b"payload", context=b"context", retry=policy))
    owner = await h.agent(lease_s=1e6)
    assert await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE, outcome=b"why") is Verdict.STORED
    before = h.listener.ready_calls
    record = await h.store.retry(task_id)
    assert record is not None
    assert (record.state, record.attempt, record.crashes, record.outcome) == (State.QUEUED, 1, 0, b"why")
    assert (record.finished_at, record.expires_at) == (None, None)
    assert h.listener.ready_calls > before
    claimed = await h.claim_one(owner)
    assert (claimed.attempt, claimed.payload, claimed.context) == (2, b"payload", b"context")
    assert await h.end(claimed, crashed=True) is Verdict.STORED
    assert (await h.record(task_id)).state is State.FAILED
    await h.store.retry(task_id)
    assert await h.end(await h.claim_one(owner)) is Verdict.STORED
    record = await h.record(task_id)
    assert (record.state, record.attempt, record.crashes) == (State.SUCCEEDED, 3, 0)
    assert await h.find() == [task_id]


async def test_what_can_be_retried(h: Harness) -> None:
    ids = await _one_of_each(h)
    for state in (State.SUCCEEDED, State.RUNNING, State.SCHEDULED, State.QUEUED):
        with pytest.raises(FailedPrecondition) as refused:
            await h.store.retry(ids[state])
        assert refused.value.metadata == {"state": state.name}
    record = await h.store.retry(ids[State.CANCELLED])
    assert record is not None
    assert record.state is State.QUEUED
    with pytest.raises(FailedPrecondition):
        await h.store.retry(ids[State.CANCELLED])


async def test_a_retried_task_has_its_limits_anew(h: Harness) -> None:
    limits = Submission(METHOD, delay_s=3.0, schedule_to_start_s=4.0, schedule_to_close_s=20.0)
    task_id = await h.submit(limits)
    await h.pass_time(30.0)
    assert isinstance(error_of(await h.record(task_id)), DeadlineExceeded)
    await h.pass_time(100.0)
    await h.store.retry(task_id)
    await h.pass_time(3.9)
    assert await h.state(task_id) is State.QUEUED
    claimed = await h.claim_one(await h.agent())
    assert claimed.deadline_at == h.clock() + 16.1
    assert (await h.record(task_id)).submission.delay_s == 3.0


async def test_progress_numbers_go_on_after_a_retry(h: Harness) -> None:
    task_id = await h.submit()
    owner = await h.agent()
    claimed = await h.claim_one(owner)
    await h.stream(claimed, 1)
    await h.end(claimed, code_pb2.INTERNAL)
    await h.store.retry(task_id)
    assert await h.stream(await h.claim_one(owner), 1) is ProgressVerdict.STORED
    assert [row.sequence for row in await h.store.read_progress(task_id, 0, 9)] == [1, 2]


# -- forgetting -------------------------------------------------------------------------------------------------------


async def test_tasks_are_forgotten_after_their_time(h: Harness) -> None:
    owner = await h.agent(lease_s=1e9)
    submission = Submission(METHOD, result_ttl_s=10.0, failure_ttl_s=100.0)
    done, failed, waiting = await h.submit_many([submission] * 3)
    claims = await h.claim(owner, limit=2)
    await h.end(claims[0])
    await h.end(claims[1], code_pb2.INTERNAL)
    assert (await h.pass_time(9.0)).forgotten == 0
    assert (await h.pass_time(1.0)).forgotten == 1
    assert await h.find() == [waiting, failed]
    assert await h.store.get([done]) == [None]
    assert await h.end(claims[0]) is Verdict.STALE
    assert (await h.pass_time(90.0)).forgotten == 1
    assert await h.find() == [waiting]


async def test_many_are_forgotten_in_portions(h: Harness) -> None:
    ids = await h.submit_many([Submission(METHOD, result_ttl_s=10.0)] * 700)
    await h.store.cancel(ids, "", 0.0)
    h.clock.advance(10.0)
    report = await h.store.sweep(100)
    assert report.forgotten == 100
    assert report.next_due_at is not None
    assert report.next_due_at <= h.clock()
    await h.pass_time(0.0)
    assert await h.find() == []


async def test_an_expired_payload_cannot_run_again(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, request_id="r", failure_ttl_s=10.0))
    await h.end(await h.claim_one(await h.agent()), code_pb2.INTERNAL)
    await h.pass_time(10.0)
    with pytest.raises(NotFound) as gone:
        await h.store.retry(task_id)
    assert gone.value.reason_name == "RESULT_EXPIRED"
