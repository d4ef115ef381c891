"""Run limits at claim time: concurrency and rate, for a method, a fairness key or another key."""

from __future__ import annotations

import pytest
from google.rpc import code_pb2

from tests.store.support import METHOD, OTHER_METHOD, Harness, StoreFactory, ref
from weft.coordinator.store.records import Claimed, Submission
from weft.coordinator.store.rules import QueueKey, State
from weft.coordinator.store.run_limits import MAX_PARKED, RunLimitRule

TWO = {"": RunLimitRule(max_running=2)}


def tenant(value: str, **more: object) -> Submission:
    return Submission(METHOD, limit_keys=(("tenant_id", value),), **more)  # type: ignore[arg-type]


async def parked(h: Harness) -> int:
    return sum(depth.limited for depth in (await h.store.depths()).values())


async def test_no_more_run_than_the_limit(h: Harness) -> None:
    owner = await h.agent()
    await h.store.set_run_limits(METHOD, TWO)
    ids = await h.submit_many([Submission(METHOD)] * 5)
    claims = await h.claim_all(owner)
    assert [claimed.task_id for claimed in claims] == ids[:2]
    # Parked tasks are queued for people, and in no ready queue.
    assert h.store.ready_depths() == {}
    depth = (await h.store.depths())[QueueKey(METHOD)]
    assert (depth.queued, depth.limited, depth.running) == (3, 3, 2)
    record = await h.record(ids[2])
    assert (record.state, record.limited_by) == (State.QUEUED, f"run limit of {METHOD}")
    for expected in ids[2:]:
        await h.end(claims.pop(0))
        (claimed,) = await h.claim_all(owner)
        assert claimed.task_id == expected
        assert (await h.record(expected)).limited_by == ""
        claims.append(claimed)


@pytest.mark.parametrize(
    "how", ["success", "failure", "retry", "crash", "release", "cancel", "lost", "expiry"]
)
async def test_room_comes_back_however_an_attempt_ends(h: Harness, how: str) -> None:
    owner, other = await h.agent(lease_s=20.0), await h.agent("other", lease_s=1e9)
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(max_running=1)})
    first = await h.submit(Submission(METHOD, start_to_close_s=5.0 if how == "expiry" else None))
    second = await h.submit(Submission(METHOD, priority=6))
    await h.store.set_paused(METHOD, paused=False)
    (running,) = await h.claim_all(owner, limit=1)
    # The better one is first; the other one waits.
    assert running.task_id == second
    assert await h.claim_all(other) == []
    if how == "success":
        await h.end(running)
    elif how == "failure":
        await h.end(running, code_pb2.INTERNAL)
    elif how == "retry":
        await h.end(running, code_pb2.UNAVAILABLE, retry_after_s=50.0)
    elif how == "crash":
        await h.end(running, crashed=True)
    elif how == "release":
        await h.store.release(owner, [ref(running)])
    elif how == "cancel":
        await h.cancel(second)
        await h.end(running, code_pb2.CANCELLED)
    elif how == "lost":
        await h.pass_time(20.0)
    else:
        await h.cancel(second, grace_s=1.0)
        await h.pass_time(3.0)
    claims = await h.claim_all(other)
    assert len(claims) == 1
    again = how in {"crash", "release", "lost"}
    assert claims[0].task_id == (second if again else first)


async def test_a_limit_by_key_holds_for_each_value(h: Harness) -> None:
    owner = await h.agent()
    await h.store.set_run_limits(METHOD, {"tenant_id": RunLimitRule(max_running=1)})
    ids = await h.submit_many([tenant("a"), tenant("a"), tenant("b"), Submission(METHOD)])
    claims = await h.claim_all(owner)
    # Tasks behind a parked one run; a task without a value of the key has no limit.
    assert [claimed.task_id for claimed in claims] == [ids[0], ids[2], ids[3]]
    assert (await h.record(ids[1])).limited_by == f"run limit of {METHOD} by tenant_id: a"
    await h.end(claims[0])
    assert [claimed.task_id for claimed in await h.claim_all(owner)] == [ids[1]]


async def test_a_limit_by_fairness_key(h: Harness) -> None:
    owner = await h.agent()
    ids = await h.submit_many([Submission(METHOD, fairness_key=key) for key in "aaabb"])
    # Set after they were queued.
    await h.store.set_run_limits(METHOD, {"fairness_key": RunLimitRule(max_running=1)})
    claims = await h.claim_all(owner)
    assert {claimed.task_id for claimed in claims} == {ids[0], ids[3]}


async def test_all_gates_or_none(h: Harness) -> None:
    owner = await h.agent()
    await h.store.set_run_limits(
        METHOD, {"": RunLimitRule(max_running=3), "tenant_id": RunLimitRule(max_running=1)}
    )
    ids = await h.submit_many([tenant("a"), tenant("a"), tenant("b"), tenant("c"), tenant("d")])
    claims = await h.claim_all(owner)
    # The second one of `a` did not take room of the method while it waits for its tenant.
    assert [claimed.task_id for claimed in claims] == [ids[0], ids[2], ids[3]]
    await h.end(claims[0])
    assert [claimed.task_id for claimed in await h.claim_all(owner)] == [ids[1]]


async def test_other_methods_are_not_limited(h: Harness) -> None:
    await h.store.set_run_limits(METHOD, TWO)
    await h.submit_many([Submission(METHOD)] * 3 + [Submission(OTHER_METHOD)] * 3)
    claims = await h.claim_all(await h.agent())
    assert [claimed.method for claimed in claims] == [METHOD] * 2 + [OTHER_METHOD] * 3


async def test_the_best_returns_first(h: Harness) -> None:
    owner = await h.agent()
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(max_running=1)})
    ids = await h.submit_many([Submission(METHOD, priority=priority) for priority in (9, 3, 5, 7, 5)])
    claims: list[Claimed] = []
    for _ in ids:
        claims += (some := await h.claim_all(owner))
        await h.end(some[0])
    assert [claimed.task_id for claimed in claims] == [ids[at] for at in (0, 3, 2, 4, 1)]


async def test_a_parked_task_that_ends_lets_others_go_on(h: Harness) -> None:
    owner = await h.agent()
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(max_running=1)})
    ids = await h.submit_many([Submission(METHOD)] * 3 + [Submission(METHOD, schedule_to_start_s=5.0)])
    (running,) = await h.claim_all(owner)
    await h.cancel(ids[1])
    assert (await h.pass_time(5.0)).expired == 1
    assert await parked(h) == 1
    await h.end(running)
    # Returned, not claimed yet, and cancelled.
    await h.cancel(ids[2])
    assert await parked(h) == 0
    last = await h.submit()
    assert [claimed.task_id for claimed in await h.claim_all(owner)] == [last]


async def test_a_returned_task_that_is_cancelled_wakes_the_next(h: Harness) -> None:
    owner = await h.agent()
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(max_running=1)})
    ids = await h.submit_many([Submission(METHOD)] * 3)
    (running,) = await h.claim_all(owner)
    await h.end(running)
    assert h.store.ready_depths() == {QueueKey(METHOD): 1}
    await h.cancel(ids[1])
    assert [claimed.task_id for claimed in await h.claim_all(owner)] == [ids[2]]


async def test_a_released_task_may_be_parked(h: Harness) -> None:
    owner = await h.agent()
    first = await h.submit()
    (released,) = await h.claim_all(owner, limit=1)
    await h.store.release(owner, [ref(released)])
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(max_running=1)})
    urgent = await h.submit(Submission(METHOD, priority=9))
    (running,) = await h.claim_all(owner)
    assert running.task_id == urgent
    assert (await parked(h), h.store.ready_depths()) == (1, {})
    await h.end(running)
    assert [claimed.task_id for claimed in await h.claim_all(owner)] == [first]
    assert await parked(h) == 0


async def test_each_queue_gets_a_chance(h: Harness) -> None:
    """One queue's agents may all be busy: a queue with free agents does not wait for them."""
    one, other = await h.agent("one", lease_s=1e9), await h.agent("other", lease_s=1e9)
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(max_running=1)})
    retried = await h.submit()
    await h.end((await h.claim_all(one))[0], crashed=True)
    fresh = await h.submit()
    running = await h.submit(Submission(METHOD, priority=9))
    (claimed,) = await h.claim_all(other)
    assert claimed.task_id == running
    await h.end(claimed)
    assert set(h.store.ready_depths()) == {QueueKey(METHOD), QueueKey(METHOD, avoid="one")}
    # Only the fresh task's queue is served here.
    (claimed,) = await h.claim(one, 5)
    assert claimed.task_id in {retried, fresh}
    await h.end(claimed)
    assert len(await h.claim_all(other)) == 1


async def test_more_parked_tasks_than_one_claim_looks_at(h: Harness) -> None:
    owner = await h.agent()
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(max_running=1)})
    count = 2 * MAX_PARKED + 10
    await h.submit_many([Submission(METHOD)] * count)
    last = await h.submit(Submission(OTHER_METHOD))
    told = h.listener.ready_calls
    claims = list(await h.claim(owner, 10, methods=(METHOD, OTHER_METHOD)))
    assert len(claims) == 1
    assert h.listener.ready_calls > told
    claims += await h.claim_all(owner)
    assert claims[-1].task_id == last
    assert await parked(h) == count - 1


# -- changes at run time ----------------------------------------------------------------------------------------------


async def test_a_limit_counts_what_runs_already(h: Harness) -> None:
    owner = await h.agent()
    await h.submit_many([Submission(METHOD)] * 6)
    claims = await h.claim_all(owner, limit=3)
    await h.store.set_run_limits(METHOD, TWO)
    assert await h.claim_all(owner) == []
    await h.end(claims[0])
    assert await h.claim_all(owner) == []
    await h.end(claims[1])
    assert len(await h.claim_all(owner)) == 1


async def test_a_limit_is_changed_and_removed(h: Harness) -> None:
    owner = await h.agent()
    await h.store.set_run_limits(METHOD, TWO)
    await h.submit_many([Submission(METHOD)] * 600)
    assert len(await h.claim_all(owner)) == 2
    told = h.listener.ready_calls
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(max_running=5)})
    assert h.listener.ready_calls > told
    assert len(await h.claim_all(owner)) == 3
    assert await h.store.run_limits() == {METHOD: {"": RunLimitRule(max_running=5)}}
    await h.store.set_run_limits(METHOD, {})
    assert await h.store.run_limits() == {}
    assert len(await h.claim_all(owner)) == 595
    assert await parked(h) == 0


async def test_limits_are_there_after_a_restart(store_factory: StoreFactory, h: Harness) -> None:
    rules = {"": RunLimitRule(2, 0.5, 3), "tenant_id": RunLimitRule(1, grace_s=2.5)}
    await h.store.set_run_limits(METHOD, rules)
    await h.store.set_run_limits(OTHER_METHOD, TWO)
    await h.store.set_run_limits(OTHER_METHOD, {})
    task_id = await h.submit(tenant("a"))
    h = await store_factory.reopen(h, crash=True)
    assert await h.store.run_limits() == {METHOD: rules}
    assert (await h.record(task_id)).submission.limit_keys == (("tenant_id", "a"),)


async def test_adopted_attempts_count(store_factory: StoreFactory, h: Harness) -> None:
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(max_running=1)})
    old = await h.agent(lease_s=1e9)
    await h.submit_many([Submission(METHOD)] * 2)
    (running,) = await h.claim_all(old)
    h = await store_factory.reopen(h, crash=True)
    late = await h.agent("late", lease_s=1e9)
    await h.adopt(late, [])
    # Submitted after the restart: the attempt that its agent has not named yet may hold the only room.
    await h.submit()
    assert await h.claim_all(late) == []
    new = await h.agent(lease_s=1e9)
    (queue,) = await h.store.adopt(new, [(ref(running), old.epoch)])
    assert queue == QueueKey(METHOD)
    assert await h.claim_all(late) == []
    running.owner = new
    await h.end(running)
    assert len(await h.claim_all(late)) == 1


async def test_a_task_that_has_no_limit_any_more_waits_for_no_agent(
    store_factory: StoreFactory, h: Harness
) -> None:
    await h.store.set_run_limits(METHOD, TWO)
    await h.agent(lease_s=1e9)
    h = await store_factory.reopen(h, crash=True)
    late = await h.agent("late", lease_s=1e9)
    await h.adopt(late, [])
    task_id = await h.submit()
    claims = await h.claim_all(late)
    await h.store.set_run_limits(METHOD, {})
    claims += await h.claim_all(late)
    assert [claimed.task_id for claimed in claims] == [task_id]


# -- rates ------------------------------------------------------------------------------------------------------------


async def test_a_rate_lets_a_burst_go_and_then_one_at_a_time(h: Harness) -> None:
    owner = await h.agent(lease_s=1e9)
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(rate_per_s=2.0, burst=3)})
    await h.submit_many([Submission(METHOD)] * 10)
    assert len(await h.claim_all(owner)) == 3
    # A sweep is needed for the next token, which the last sweep did not know of.
    assert h.listener.dues[-1] == pytest.approx(h.clock() + 0.5, abs=0.01)
    report = await h.pass_time(0.25)
    # The sweep says when the next token comes.
    assert report.next_due_at == pytest.approx(h.clock() + 0.25, abs=0.01)
    assert await h.claim_all(owner) == []
    for _ in range(3):
        await h.pass_time(0.51)
        assert len(await h.claim_all(owner)) == 1
    await h.pass_time(60.0)
    assert len(await h.claim_all(owner)) == 3


async def test_tokens_come_without_a_sweep_as_well(h: Harness) -> None:
    owner = await h.agent(lease_s=1e9)
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(rate_per_s=1.0)})
    await h.submit_many([Submission(METHOD)] * 3)
    assert len(await h.claim_all(owner)) == 1
    h.clock.advance(1.1)
    await h.submit()
    assert len(await h.claim_all(owner)) == 1


async def test_a_released_attempt_gives_its_token_back(h: Harness) -> None:
    owner = await h.agent(lease_s=1e9)
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(rate_per_s=0.001)})
    await h.submit()
    (claimed,) = await h.claim_all(owner)
    await h.store.release(owner, [ref(claimed)])
    assert len(await h.claim_all(owner)) == 1


async def test_a_rate_over_a_minute(h: Harness) -> None:
    owner = await h.agent(lease_s=1e9)
    await h.store.set_run_limits(METHOD, {"tenant_id": RunLimitRule(rate_per_s=10.0, burst=2)})
    await h.submit_many([tenant("a")] * 700)
    started = 0
    for _ in range(60 * 8):
        await h.pass_time(0.125)
        started += len(await h.claim_all(owner))
    assert started == pytest.approx(600, abs=30)
