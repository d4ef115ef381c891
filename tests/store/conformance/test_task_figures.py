"""What stores count: each event of a task once, by method, where the change was made."""

from __future__ import annotations

from google.rpc import code_pb2

from tests.store.support import METHOD, OTHER_METHOD, Harness, ref
from weft.coordinator.store.records import Owner, Submission
from weft.coordinator.store.rules import TaskRetryPolicy


def counts(h: Harness, method: str = METHOD) -> dict[str, float]:
    """What was counted, by metric, without its prefix, and outcome or reason."""
    return {
        ".".join((reading.spec.name.removeprefix("weft."), *labels[1:])): value
        for reading in h.store.figures.figures.read()
        if reading.spec.kind == "counter"
        for labels, value in reading.points
        if labels and labels[0] == method and isinstance(value, float | int) and value
    }


async def test_a_success(h: Harness) -> None:
    owner = await h.agent()
    await h.submit_many([Submission(METHOD)] * 3)
    await h.submit(Submission(OTHER_METHOD))
    await h.submit(Submission(METHOD, request_id="r"))
    # The same request is no further task.
    await h.submit(Submission(METHOD, request_id="r"))
    for claimed in await h.claim(owner, 4):
        assert claimed.ready_at == h.clock()
        await h.end(claimed)
        # Told again, it is not counted again.
        await h.end(claimed)
    assert counts(h) == {"tasks.submitted": 4, "attempts.ended.succeeded": 4, "tasks.ended.succeeded": 4}
    assert counts(h, OTHER_METHOD) == {"tasks.submitted": 1}


async def test_failures_and_retries(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    await h.submit(Submission(METHOD, retry=TaskRetryPolicy(max_attempts=2)))
    await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE)
    assert counts(h) == {"tasks.submitted": 1, "attempts.ended.failed": 1, "tasks.retried": 1}
    await h.pass_time(60.0)
    await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE)
    await h.submit()
    await h.end(await h.claim_one(owner), code_pb2.DEADLINE_EXCEEDED)
    assert counts(h) == {
        "tasks.submitted": 2,
        "attempts.ended.failed": 2,
        "attempts.ended.timed_out": 1,
        "tasks.retried": 1,
        "tasks.ended.failed": 2,
    }


async def test_crashes_losses_and_releases(h: Harness) -> None:
    owner = await h.agent(lease_s=5.0)
    await h.submit(Submission(METHOD, retry=TaskRetryPolicy(max_crashes=1)))
    await h.end(await h.claim_one(owner), code_pb2.UNAVAILABLE, crashed=True)
    await h.sweep()
    claimed = await h.claim_one(owner)
    await h.store.release(owner, [ref(claimed)])
    await h.claim_one(owner)
    await h.pass_time(6.0)
    assert counts(h) == {
        "tasks.submitted": 1,
        "attempts.ended.crashed": 1,
        "attempts.ended.released": 1,
        "attempts.ended.lost": 1,
        "tasks.rerun": 1,
        "tasks.ended.failed": 1,
    }


async def test_cancellations_and_time_limits(h: Harness) -> None:
    owner = await h.agent(lease_s=1e6)
    queued = await h.submit()
    await h.cancel(queued)
    running = await h.submit()
    claimed = await h.claim_one(owner)
    await h.cancel(running)
    await h.end(claimed, code_pb2.CANCELLED)
    cut_off = await h.submit()
    await h.claim_one(owner)
    await h.cancel(cut_off, grace_s=1.0)
    await h.pass_time(10.0)
    assert counts(h) == {
        "tasks.submitted": 3,
        "attempts.ended.cancelled": 2,
        "tasks.ended.cancelled": 3,
    }
    await h.submit(Submission(METHOD, start_to_close_s=1.0, retry=TaskRetryPolicy(max_attempts=1)))
    await h.claim_one(owner)
    await h.submit(Submission(METHOD, schedule_to_start_s=1.0))
    await h.pass_time(10.0)
    found = counts(h)
    assert found["attempts.ended.timed_out"] == 1
    assert found["tasks.ended.failed"] == 2


async def test_a_deferred_task_counts_as_any_other(h: Harness) -> None:
    """It may be stored together with its end."""
    owner: Owner = await h.agent()
    task_id = h.store.new_task_id(METHOD)
    await h.store.enqueue([Submission(METHOD, task_id=task_id)], acknowledged=False)
    (claimed,) = await h.claim_all(owner)
    await h.end(claimed)
    assert counts(h) == {"tasks.submitted": 1, "attempts.ended.succeeded": 1, "tasks.ended.succeeded": 1}
    assert h.store.figures.write_s.total > 0
    assert sum(h.store.figures.write_size.counts) > 0
