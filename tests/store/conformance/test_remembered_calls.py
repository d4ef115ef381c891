"""The remembered calls of a cancelled task are cancelled with it, whoever cancels it and however many they are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from google.rpc import code_pb2

from tests.store.support import METHOD, OTHER_METHOD, Harness, StoreFactory, reason_of
from weft.coordinator.store.records import Submission
from weft.coordinator.store.remembered import MOST_CALLS, request_id_of
from weft.coordinator.store.rules import State
from weft.coordinator.store.run_limits import LimitAction, RunLimitRule


def call_of(parent_id: str, name: str, method: str = OTHER_METHOD) -> Submission:
    return Submission(method, request_id=request_id_of(parent_id, name))


async def states(h: Harness, ids: Sequence[str]) -> set[State]:
    return {record.state for record in await h.store.get(ids) if record is not None}


async def test_all_that_a_cancelled_task_has_called(h: Harness) -> None:
    """Waiting and running ones, and the calls of these; nobody else's, and nothing that has ended."""
    owner = await h.agent()
    parent, other = await h.submit_many([Submission(METHOD, delay_s=60.0), Submission(METHOD, delay_s=60.0)])
    done, runs = await h.submit_many([call_of(parent, name) for name in ("done", "runs")])
    first, _ = [await h.claim(owner, methods=[OTHER_METHOD]) for _ in range(2)]
    await h.end(first[0])
    waits, others, stranger = await h.submit_many(
        [call_of(parent, "waits"), call_of(other, "waits"), Submission(OTHER_METHOD, request_id="mine")]
    )
    below = await h.submit(call_of(runs, "below"))
    assert (record := await h.cancel(parent, 3.0)) is not None
    assert record.state is State.CANCELLED
    assert await states(h, [waits, below]) == {State.CANCELLED}
    assert reason_of(await h.record(below))[1]["reason"] == f"task {runs}, which called it, was cancelled"
    running = await h.record(runs)
    assert (running.state, running.cancel_requested) == (State.RUNNING, True)
    (revoked,) = h.listener.revocations
    assert (revoked.ref.task_id, revoked.grace_s) == (runs, 3.0)
    assert await h.state(done) is State.SUCCEEDED
    assert await states(h, [other, others, stranger]) == {State.SCHEDULED, State.QUEUED}
    # A task that succeeded leaves its calls alone, and a cancelled one those that it makes while it ends.
    await h.cancel(done)
    later = await h.submit(call_of(runs, "undo"))
    await h.pass_time(0.0)
    assert await h.state(later) is State.QUEUED
    # A repeat says that they are to end, too: now.
    await h.cancel(runs, 0.0)
    assert await h.state(later) is State.CANCELLED


@pytest.mark.parametrize("count", [MOST_CALLS - 1, MOST_CALLS, 3 * MOST_CALLS + 7])
async def test_more_calls_than_one_move_cancels(h: Harness, count: int) -> None:
    parent = await h.submit(Submission(METHOD, delay_s=60.0))
    calls = await h.submit_many([call_of(parent, f"call-{at}") for at in range(count)])
    below = await h.submit(call_of(calls[-1], "below"))
    await h.cancel(parent)
    assert await h.state(parent) is State.CANCELLED
    await h.pass_time(0.0)
    assert await states(h, [*calls, below]) == {State.CANCELLED}
    assert h.store.unfinished() == 0


async def test_the_calls_of_a_task_that_a_run_limit_cancels(h: Harness) -> None:
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(1, at_limit=LimitAction.CANCEL_OLDEST)})
    parent = await h.submit(Submission(METHOD, delay_s=60.0))
    calls = await h.submit_many([call_of(parent, f"call-{at}") for at in range(3)])
    new = await h.submit(Submission(METHOD, delay_s=60.0))
    await h.pass_time(0.0)
    assert await states(h, [parent, *calls]) == {State.CANCELLED}
    assert await h.state(new) is State.SCHEDULED


async def test_calls_that_a_restart_found(store_factory: StoreFactory) -> None:
    h = await store_factory.open()
    parent = await h.submit(Submission(METHOD, delay_s=60.0))
    waits, ended = await h.submit_many([call_of(parent, name) for name in ("waits", "ended")])
    await h.cancel(ended)
    h = await store_factory.reopen(h, crash=True)
    await h.cancel(parent)
    assert await states(h, [parent, waits]) == {State.CANCELLED}


async def test_a_call_that_was_queued_again(h: Harness) -> None:
    owner = await h.agent()
    parent = await h.submit(Submission(METHOD, delay_s=60.0))
    failed = await h.submit(call_of(parent, "fails"))
    (claimed,) = await h.claim(owner, methods=[OTHER_METHOD])
    await h.end(claimed, code_pb2.INVALID_ARGUMENT, final=True)
    assert await h.state(failed) is State.FAILED
    await h.store.retry(failed)
    await h.cancel(parent)
    assert await h.state(failed) is State.CANCELLED
