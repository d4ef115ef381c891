"""Progress: responses of streaming methods, numbered over all attempts."""

from __future__ import annotations

from google.rpc import code_pb2

from tests.store.factories import MAX_PROGRESS_BYTES
from tests.store.support import METHOD, Harness, StoreFactory, ref
from weft.coordinator.store.records import ProgressRow, ProgressVerdict, Submission, Verdict
from weft.coordinator.store.rules import REQUEST_ID_TTL_S, State, TaskRetryPolicy

AT_ONCE = TaskRetryPolicy(initial_backoff_s=0.0)


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


async def test_initial_metadata_is_kept_with_the_response_that_it_came_before(h: Harness) -> None:
    task_id = await h.submit()
    claimed = await h.claim_one(await h.agent())
    assert await h.stream(claimed, 1, b"one", b"\x00headers\xff") is ProgressVerdict.STORED
    assert await h.stream(claimed, 2, b"two") is ProgressVerdict.STORED
    rows = [ProgressRow(1, 1, b"one", b"\x00headers\xff"), ProgressRow(2, 1, b"two")]
    assert list(await h.store.read_progress(task_id, 0, 10)) == rows
    assert h.listener.rows == [(task_id, row) for row in rows]


async def test_what_the_responses_of_a_task_take_has_a_bound(store_factory: StoreFactory) -> None:
    h = await store_factory.open()
    part = bytes(MAX_PROGRESS_BYTES // 4)
    owner = await h.agent()
    await h.submit()
    claimed = await h.claim_one(owner)
    for index in range(1, 4):
        assert await h.stream(claimed, index, part[:-10], b"0123456789") is ProgressVerdict.STORED
    assert await h.stream(claimed, 4, part + b"x") is ProgressVerdict.LIMIT
    # Nothing of it was stored, and what fits is.
    assert await h.stream(claimed, 4, part) is ProgressVerdict.STORED
    assert await h.stream(claimed, 5, b"x") is ProgressVerdict.LIMIT
    assert await h.stream(claimed, 4, part) is ProgressVerdict.KNOWN
    # Each task has its own, and it outlives a restart.
    other_id = await h.submit()
    other = await h.claim_one(owner)
    assert await h.stream(other, 1, part) is ProgressVerdict.STORED
    h = await store_factory.reopen(h, crash=False)
    (other.owner,) = [await h.agent()]
    await h.store.adopt(other.owner, [(ref(other), owner.epoch)])
    assert await h.stream(other, 2, part + part + part) is ProgressVerdict.STORED
    assert await h.stream(other, 3, b"x") is ProgressVerdict.LIMIT
    assert (await h.record(other_id)).progress_count == 2
