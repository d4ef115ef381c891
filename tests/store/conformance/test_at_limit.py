"""Run limits of unfinished tasks, which are decided when a task is submitted: refuse, cancel the newest, cancel the oldest."""

from __future__ import annotations

from google.rpc import code_pb2

from tests.store.support import METHOD, Harness, StoreFactory, reason_of
from weft.coordinator.store.records import AtLimit, Enqueued, Submission
from weft.coordinator.store.rules import State
from weft.coordinator.store.run_limits import GateKey, LimitAction, RunLimitRule

REFUSE = RunLimitRule(2, at_limit=LimitAction.REFUSE)


def keyed(value: str, **more: object) -> Submission:
    return Submission(METHOD, limit_keys=(("customer", value),), **more)  # type: ignore[arg-type]


async def states(h: Harness, ids: list[str]) -> list[State]:
    return [await h.state(task_id) for task_id in ids]


async def test_refuse(h: Harness) -> None:
    await h.store.set_run_limits(METHOD, {"customer": REFUSE})
    first, second, refused, other = await h.store.enqueue([keyed("a"), keyed("a"), keyed("a"), keyed("b")])
    assert isinstance(first, Enqueued)
    assert isinstance(second, Enqueued)
    assert isinstance(other, Enqueued)
    assert refused == AtLimit(GateKey(METHOD, "customer", "a"), 2)
    assert h.store.unfinished() == 3
    # A running task is unfinished; one that has ended is not.
    owner = await h.agent()
    claims = await h.claim_all(owner)
    assert await h.store.enqueue([keyed("a")]) == [refused]
    await h.end(next(claimed for claimed in claims if claimed.task_id == first.task_id))
    assert isinstance((await h.store.enqueue([keyed("a")]))[0], Enqueued)
    assert await h.store.enqueue([keyed("a")]) == [refused]


async def test_a_known_request_id_is_at_no_limit(h: Harness) -> None:
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(1, at_limit=LimitAction.REFUSE)})
    (first,) = await h.store.enqueue([Submission(METHOD, request_id="r")])
    assert isinstance(first, Enqueued)
    again, refused = await h.store.enqueue(
        [Submission(METHOD, request_id="r"), Submission(METHOD, request_id="s")]
    )
    assert again == Enqueued(first.task_id, existed=True)
    assert refused == AtLimit(GateKey(METHOD), 1)
    # The refused one's request id is free.
    await h.cancel(first.task_id)
    (stored,) = await h.store.enqueue([Submission(METHOD, request_id="s")])
    assert isinstance(stored, Enqueued)
    assert not stored.existed


async def test_cancel_the_newest(h: Harness) -> None:
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(1, at_limit=LimitAction.CANCEL_NEWEST)})
    ids = await h.submit_many([Submission(METHOD)] * 3)
    assert await states(h, ids) == [State.QUEUED, State.CANCELLED, State.CANCELLED]
    reason, metadata = reason_of(await h.record(ids[1]))
    assert reason == "CANCELLED"
    assert METHOD in metadata["reason"]
    await h.end((await h.claim_all(await h.agent()))[0])
    assert await h.state(await h.submit()) is State.QUEUED


async def test_cancel_the_oldest_debounces(h: Harness) -> None:
    await h.store.set_run_limits(METHOD, {"customer": RunLimitRule(1, at_limit=LimitAction.CANCEL_OLDEST)})
    ids = await h.submit_many([keyed("a", delay_s=5.0), keyed("b", delay_s=5.0)])
    ids += await h.submit_many([keyed("a", delay_s=5.0)] * 3)
    assert await states(h, ids) == [State.CANCELLED, State.SCHEDULED, *[State.CANCELLED] * 2, State.SCHEDULED]
    await h.pass_time(5.0)
    claims = await h.claim_all(await h.agent())
    assert sorted(claimed.task_id for claimed in claims) == [ids[1], ids[4]]


async def test_cancel_the_oldest_running_one(h: Harness) -> None:
    owner = await h.agent(lease_s=1e9)
    rule = RunLimitRule(1, at_limit=LimitAction.CANCEL_OLDEST, grace_s=3.0)
    await h.store.set_run_limits(METHOD, {"": rule})
    first = await h.submit()
    (running,) = await h.claim_all(owner)
    second = await h.submit()
    record = await h.record(first)
    assert (record.state, record.cancel_requested) == (State.RUNNING, True)
    (revoked,) = h.listener.revocations
    assert (revoked.owner, revoked.grace_s, revoked.lost) == (owner, 3.0, False)
    # It runs still: the new one waits for it, and is the oldest one for the next.
    assert await h.claim_all(owner) == []
    third = await h.submit()
    assert await states(h, [second, third]) == [State.CANCELLED, State.QUEUED]
    assert len(h.listener.revocations) == 1
    await h.end(running, code_pb2.CANCELLED)
    assert [claimed.task_id for claimed in await h.claim_all(owner)] == [third]


async def test_the_strictest_action_holds(h: Harness) -> None:
    await h.store.set_run_limits(
        METHOD,
        {
            "": RunLimitRule(3, at_limit=LimitAction.REFUSE),
            "customer": RunLimitRule(1, at_limit=LimitAction.CANCEL_OLDEST),
        },
    )
    ids = await h.submit_many([keyed("a"), keyed("b"), keyed("c")])
    # Nothing is cancelled for a task that is refused.
    assert await h.store.enqueue([keyed("a")]) == [AtLimit(GateKey(METHOD), 3)]
    assert await states(h, ids) == [State.QUEUED] * 3
    await h.cancel(ids[2])
    ids += await h.submit_many([keyed("a")])
    assert await states(h, ids) == [State.CANCELLED, State.QUEUED, State.CANCELLED, State.QUEUED]


async def test_tasks_are_counted_from_the_rule_on(h: Harness) -> None:
    await h.submit_many([Submission(METHOD)] * 5)
    await h.store.set_run_limits(METHOD, {"": REFUSE})
    await h.submit_many([Submission(METHOD)] * 2)
    assert isinstance((await h.store.enqueue([Submission(METHOD)]))[0], AtLimit)
    await h.store.set_run_limits(METHOD, {})
    await h.submit_many([Submission(METHOD)] * 2)


async def test_a_task_of_before_the_rule_ends(h: Harness) -> None:
    await h.store.set_run_limits(METHOD, {"": REFUSE})
    first = await h.submit()
    # The rule is removed and set again: the count starts anew, and the first task's end is nothing to it.
    await h.store.set_run_limits(METHOD, {})
    await h.store.set_run_limits(METHOD, {"": REFUSE})
    await h.submit_many([Submission(METHOD)] * 2)
    await h.cancel(first)
    assert isinstance((await h.store.enqueue([Submission(METHOD)]))[0], AtLimit)


async def test_the_count_is_there_after_a_restart(store_factory: StoreFactory, h: Harness) -> None:
    await h.store.set_run_limits(METHOD, {"": REFUSE})
    await h.submit_many([Submission(METHOD), Submission(METHOD, delay_s=50.0)])
    h = await store_factory.reopen(h, crash=True)
    assert isinstance((await h.store.enqueue([Submission(METHOD)]))[0], AtLimit)
