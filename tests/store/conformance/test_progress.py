"""Progress: responses of streaming methods, numbered over all attempts."""

from __future__ import annotations

from google.rpc import code_pb2

from tests.store.support import METHOD, Harness, ref
from weft.coordinator.rules import REQUEST_ID_TTL_S, RetryPolicy, State
from weft.coordinator.store.records import ProgressRow, ProgressVerdict, Submission, Verdict

AT_ONCE = RetryPolicy(initial_backoff_s=0.0)


async def test_progress_is_numbered_and_told(h: Harness) -> None:
    task_id = await h.submit()
    claimed = await h.claim_one(await h.agent())
    for index in range(1, 4):
        assert await h.stream(claimed, index, b"item %d" % index) is ProgressVerdict.STORED
    rows = [ProgressRow(n, 1, b"item %d" % n) for n in (1, 2, 3)]
    assert list(await h.store.read_progress(task_id, 0, 10)) == rows
    assert list(await h.store.read_progress(task_id, 1, 1)) == rows[1:2]
    assert list(await h.store.read_progress(task_id, 3, 10)) == []
    assert h.listener.rows == [(task_id, row) for row in rows]
    assert (await h.record(task_id)).progress_count == 3
    await h.end(claimed, outcome=b"")
    assert (await h.record(task_id)).progress_count == 3
    assert list(await h.store.read_progress(task_id, 0, 10)) == rows


async def test_a_repeated_item_is_known(h: Harness) -> None:
    task_id = await h.submit()
    claimed = await h.claim_one(await h.agent())
    await h.stream(claimed, 1)
    await h.stream(claimed, 2)
    assert await h.stream(claimed, 1) is ProgressVerdict.KNOWN
    assert await h.stream(claimed, 2) is ProgressVerdict.KNOWN
    assert len(await h.store.read_progress(task_id, 0, 10)) == 2


async def test_a_new_attempt_begins_again(h: Harness) -> None:
    task_id = await h.submit(Submission(METHOD, retry=AT_ONCE))
    owner = await h.agent()
    first = await h.claim_one(owner)
    await h.stream(first, 1, b"a")
    await h.stream(first, 2, b"b")
    await h.end(first, code_pb2.UNAVAILABLE)
    second = await h.claim_one(owner)
    assert await h.stream(first, 3) is ProgressVerdict.STALE
    assert await h.stream(second, 1, b"a") is ProgressVerdict.STORED
    assert list(await h.store.read_progress(task_id, 1, 10)) == [
        ProgressRow(2, 1, b"b"),
        ProgressRow(3, 2, b"a"),
    ]


async def test_progress_goes_on_after_adoption(h: Harness) -> None:
    await h.submit()
    old = await h.agent()
    claimed = await h.claim_one(old)
    await h.stream(claimed, 1)
    new = await h.agent()
    await h.store.adopt(new, [(ref(claimed), old.epoch)])
    assert await h.stream(claimed, 2) is ProgressVerdict.STALE
    claimed.owner = new
    assert await h.stream(claimed, 1) is ProgressVerdict.KNOWN
    assert await h.stream(claimed, 2) is ProgressVerdict.STORED


async def test_a_gap_ends_the_attempt(h: Harness) -> None:
    task_id = await h.submit()
    claimed = await h.claim_one(await h.agent())
    await h.stream(claimed, 1)
    assert await h.stream(claimed, 3) is ProgressVerdict.STALE
    record = await h.record(task_id)
    assert (record.state, record.crashes) == (State.QUEUED, 1)
    assert await h.end(claimed) is Verdict.STALE


async def test_progress_is_forgotten_with_its_task(h: Harness) -> None:
    for request_id in ("", "r"):
        task_id = await h.submit(Submission(METHOD, request_id=request_id, result_ttl_s=10.0))
        claimed = await h.claim_one(await h.agent())
        await h.stream(claimed, 1)
        await h.end(claimed)
        await h.pass_time(10.0)
        assert await h.store.read_progress(task_id, 0, 10) == []
    await h.pass_time(REQUEST_ID_TTL_S)
    assert await h.find() == []
