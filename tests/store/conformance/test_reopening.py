"""Tasks after a stop or a crash of the coordinator, and attempts that agents may still hold then.

One kind of store forgets with its process who runs what, and asks the agents (`forgetful`); the other keeps it (`keeping`).
"""

from __future__ import annotations

import pytest
from google.rpc import code_pb2

from tests.store.support import METHOD, OTHER_METHOD, StoreFactory, ref
from weft.coordinator.store.records import AttemptRef, ProgressVerdict, Submission, Verdict
from weft.coordinator.store.rules import QueueKey, State, TaskRetryPolicy
from weft.rpc.errors import AlreadyExists

GRACE_S = 5.0


@pytest.fixture
def forgetful(store_factory: StoreFactory) -> StoreFactory:
    if not store_factory.forgets_claims:
        pytest.skip("it keeps claims: nothing is held back, and nobody is waited for")
    return store_factory


@pytest.fixture
def keeping(store_factory: StoreFactory) -> StoreFactory:
    if store_factory.forgets_claims:
        pytest.skip("it keeps no claims: agents say what they hold")
    return store_factory


@pytest.fixture(params=[False, True], ids=["stop", "crash"])
def crash(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_everything_acknowledged_is_there(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    owner = await h.agent()
    succeeded, failed, retrying = await h.submit_many([Submission(METHOD, b"p", request_id=r) for r in "abc"])
    claims = await h.claim(owner, limit=3)
    await h.stream(claims[0], 1, b"row")
    await h.end(claims[0])
    await h.end(claims[1], code_pb2.INTERNAL)
    await h.end(claims[2], code_pb2.UNAVAILABLE, outcome=b"once", retry_after_s=60.0)
    cancelled = await h.submit()
    await h.cancel(cancelled)
    scheduled = await h.submit(Submission(METHOD, delay_s=30.0))
    queued = await h.submit(Submission(OTHER_METHOD, b"payload", context=b"context", priority=7))
    await h.store.set_paused("p/q", paused=True)
    await h.store.put_contract("digest", b"files", [METHOD])
    await h.store.set_desired("a", 3)
    before = {task_id: await h.record(task_id) for task_id in await h.find()}

    h = await store_factory.reopen(h, crash=crash)
    assert {task_id: await h.record(task_id) for task_id in await h.find()} == before
    assert set(before) == {succeeded, failed, retrying, cancelled, scheduled, queued}
    assert [row.payload for row in await h.store.read_progress(succeeded, 0, 10)] == [b"row"]
    assert await h.store.paused() == ["p/q"]
    assert await h.store.contracts() == {"digest": (b"files", [METHOD])}
    (agent,) = (await h.store.agents()).values()
    assert (agent.agent_id, agent.desired_state) == ("a", 3)
    (again,) = await h.store.enqueue([Submission(METHOD, b"p", request_id="a")])
    assert again.task_id == succeeded
    assert h.store.unfinished() == 3


async def test_an_orderly_stop_keeps_what_nobody_was_told_of(store_factory: StoreFactory) -> None:
    h = await store_factory.open()
    task_id = h.store.new_task_id(METHOD)
    await h.store.enqueue([Submission(METHOD, task_id=task_id)], acknowledged=False)
    h = await store_factory.reopen(h, crash=False)
    assert await h.state(task_id) is State.QUEUED


async def test_ids_and_epochs_go_on_growing(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    epoch, task_id = (await h.agent()).epoch, await h.submit()
    h = await store_factory.reopen(h, crash=crash)
    # Also when the clock has been set back.
    h.clock.advance(-3600.0)
    assert await h.submit() > task_id
    assert (await h.agent()).epoch > epoch


async def test_what_was_ready_is_so_when_the_clock_is_set_back(
    store_factory: StoreFactory, crash: bool
) -> None:
    h = await store_factory.open()
    ids = await h.submit_many([Submission(METHOD), Submission(METHOD, delay_s=60.0)])
    h.clock.advance(61.0)
    await h.store.sweep(10)
    agent = await h.agent("a")
    assert {claimed.task_id for claimed in await h.claim(agent, limit=5)} == set(ids)
    # Both attempts are lost with their agent: the tasks wait for another.
    await h.store.retire(agent)
    assert [await h.state(task_id) for task_id in ids] == [State.QUEUED] * 2
    h.clock.advance(-7200.0)
    h = await store_factory.reopen(h, crash=crash)
    again = await h.claim(await h.agent("b"), limit=5)
    assert {(claimed.task_id, claimed.attempt) for claimed in again} == {(task_id, 2) for task_id in ids}


async def test_nothing_is_held_back_when_no_agent_was_there(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    ids = await h.submit_many([Submission(METHOD)] * 3)
    await h.store.retire(await h.agent())
    h = await store_factory.reopen(h, crash=crash)
    assert h.store.ready_depths() == {QueueKey(METHOD): 3}
    assert [claimed.task_id for claimed in await h.claim(await h.agent("b"), limit=5)] == ids


async def test_what_may_be_running_is_held_back_and_adopted(forgetful: StoreFactory, crash: bool) -> None:
    h = await forgetful.open()
    old = await h.agent("a")
    ids = await h.submit_many([Submission(METHOD, b"payload")] * 3)
    claims = await h.claim(old, limit=2)
    h = await forgetful.reopen(h, crash=crash)
    other = await h.agent("b")
    new_task = await h.submit()
    # Tasks that came after the restart are not held back; the older ones are.
    assert [claimed.task_id for claimed in await h.claim(other, limit=5)] == [new_task]
    assert (await h.store.depths())[QueueKey(METHOD)].queued == 3
    new = await h.agent("a")
    assert await h.adopt(new, [(ref(claims[0]), old.epoch)]) == [True]
    record = await h.record(ids[0])
    assert (record.state, record.attempt, record.agent_id) == (State.RUNNING, 1, "a")
    # All agents are back: what nobody named goes on, without a crash.
    rest = await h.claim(other, limit=5)
    assert [(claimed.task_id, claimed.attempt, claimed.payload) for claimed in rest] == [
        (ids[1], 1, b"payload"),
        (ids[2], 1, b"payload"),
    ]
    assert (await h.record(ids[1])).crashes == 0
    assert await h.end(claims[0]) is Verdict.STALE
    assert await h.end(claims[1]) is Verdict.STALE
    claims[0].owner = new
    assert await h.end(claims[0]) is Verdict.STORED


async def test_the_grace_ends_the_wait(forgetful: StoreFactory, crash: bool) -> None:
    h = await forgetful.open()
    old = await h.agent("a")
    task_id = await h.submit()
    claimed = await h.claim_one(old)
    h = await forgetful.reopen(h, crash=crash)
    other = await h.agent("b")
    report = await h.pass_time(GRACE_S - 0.1)
    assert report.next_due_at == pytest.approx(h.clock() + 0.1)
    assert await h.claim(other) == []
    before = h.listener.ready_calls
    report = await h.pass_time(0.1)
    assert report.lost_owners == [old]
    assert {agent.agent_id: agent.connected for agent in (await h.store.agents()).values()} == {
        "a": False,
        "b": True,
    }
    assert h.listener.ready_calls > before
    again = await h.claim_one(other)
    assert (again.task_id, again.attempt) == (task_id, 1)
    # Too late: it runs elsewhere.
    late = await h.agent("a")
    assert await h.adopt(late, [(ref(claimed), old.epoch)]) == [False]
    assert await h.end(again) is Verdict.STORED


async def test_nobody_is_connected_after_a_restart(forgetful: StoreFactory, crash: bool) -> None:
    h = await forgetful.open()
    await h.agent("a", lease_s=1000.0)
    h = await forgetful.reopen(h, crash=crash)
    assert list(await h.store.renew([await h.agent("a", instance_id="another")], 5.0)) == [True]


async def test_claims_stay_with_their_owners(keeping: StoreFactory, crash: bool) -> None:
    h = await keeping.open()
    old = await h.agent("a", lease_s=10.0)
    ids = await h.submit_many([Submission(METHOD, b"payload")] * 3)
    claims = await h.claim(old, limit=2)
    h = await keeping.reopen(h, crash=crash)
    record = await h.record(ids[0])
    assert (record.state, record.attempt, record.agent_id) == (State.RUNNING, 1, "a")
    # What nobody runs is given out at once.
    other = await h.agent("b", lease_s=1000.0)
    assert [claimed.task_id for claimed in await h.claim(other, limit=5)] == [ids[2]]
    # The session goes on where it is, until its lease passes.
    assert await h.end(claims[0]) is Verdict.STORED
    assert list(await h.store.renew([old], 5.0)) == [True]
    assert (await h.pass_time(4.9)).lost_owners == []
    report = await h.pass_time(0.1)
    assert (report.lost_owners, report.reclaimed) == ([old], 1)
    assert {agent.agent_id: agent.connected for agent in (await h.store.agents()).values()} == {
        "a": False,
        "b": True,
    }
    assert await h.end(claims[1]) is Verdict.STALE
    again = await h.claim_one(other)
    assert (again.task_id, again.attempt) == (ids[1], 2)
    assert (await h.record(ids[1])).crashes == 1


async def test_claims_are_adopted_at_another_coordinator(keeping: StoreFactory, crash: bool) -> None:
    h = await keeping.open()
    old = await h.agent("a", lease_s=10.0)
    ids = await h.submit_many([Submission(METHOD, b"payload")] * 2)
    claims = await h.claim(old, limit=2)
    h = await keeping.reopen(h, crash=crash)
    new = await h.agent("a", lease_s=1000.0)
    assert await h.adopt(new, [(ref(claims[0]), old.epoch)]) == [True]
    assert list(await h.store.renew([old, new], 1000.0)) == [False, True]
    # What the agent does not name never came to it.
    (again,) = await h.claim(await h.agent("b", lease_s=1000.0), limit=5)
    assert (again.task_id, again.attempt, again.payload) == (ids[1], 1, b"payload")
    assert (await h.record(ids[1])).crashes == 0
    assert (await h.pass_time(10.0)).lost_owners == []
    assert [await h.end(claimed) for claimed in claims] == [Verdict.STALE] * 2
    claims[0].owner = new
    assert await h.end(claims[0]) is Verdict.STORED
    assert await h.end(again) is Verdict.STORED


async def test_sessions_stay_open_until_their_leases_pass(keeping: StoreFactory, crash: bool) -> None:
    """Nobody says whether the streams have ended: the same process may come at once, another one later."""
    h = await keeping.open()
    await h.agent("a", lease_s=3.0)
    await h.agent("b", lease_s=3.0)
    h = await keeping.reopen(h, crash=crash)
    with pytest.raises(AlreadyExists):
        await h.agent("a", instance_id="another")
    await h.agent("b")
    h.clock.advance(3.0)
    await h.agent("a", instance_id="another")


async def test_an_agent_that_leaves_is_not_waited_for(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    await h.agent("a")
    await h.submit()
    h = await store_factory.reopen(h, crash=crash)
    owner = await h.agent("a")
    await h.store.retire(owner)
    await h.sweep()
    assert len(await h.claim(await h.agent("b"))) == 1


async def test_attempts_that_had_ended_are_not_adopted(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    old = await h.agent("a")
    done, retried, lost = await h.submit_many(
        [Submission(METHOD, retry=TaskRetryPolicy(initial_backoff_s=0.0))] * 3
    )
    claims = await h.claim(old, limit=3)
    await h.end(claims[0])
    await h.end(claims[1], code_pb2.UNAVAILABLE)
    await h.end(claims[2], crashed=True)
    second = await h.claim_one(old)
    assert (second.task_id, second.attempt) == (retried, 2)
    h = await store_factory.reopen(h, crash=crash)
    new = await h.agent("a")
    held = [(ref(claimed), old.epoch) for claimed in (*claims, second)]
    assert await h.adopt(new, held) == [False, False, False, True]
    assert await h.state(done) is State.SUCCEEDED
    record = await h.record(lost)
    assert (record.state, record.attempt, record.crashes) == (State.QUEUED, 1, 1)
    second.owner = new
    assert await h.end(second) is Verdict.STORED


async def test_progress_goes_on(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    old = await h.agent("a")
    task_id = await h.submit()
    claimed = await h.claim_one(old)
    await h.stream(claimed, 1)
    await h.stream(claimed, 2)
    h = await store_factory.reopen(h, crash=crash)
    claimed.owner = await h.agent("a")
    assert await h.adopt(claimed.owner, [(ref(claimed), old.epoch)]) == [True]
    assert await h.stream(claimed, 2) is ProgressVerdict.KNOWN
    assert await h.stream(claimed, 3) is ProgressVerdict.STORED
    assert [row.sequence for row in await h.store.read_progress(task_id, 0, 9)] == [1, 2, 3]


async def test_a_cancellation_survives(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    old = await h.agent("a")
    adopted, alone = await h.submit_many([Submission(METHOD)] * 2)
    claims = await h.claim(old, limit=2)
    await h.cancel(adopted, grace_s=3.0)
    await h.cancel(alone, grace_s=3.0)
    h = await store_factory.reopen(h, crash=crash)
    new = await h.agent("a", lease_s=1000.0)
    assert await h.adopt(new, [(ref(claims[0]), old.epoch)]) == [True]
    # Nobody runs the other one: it is cancelled, not run again.
    await h.sweep()
    assert await h.state(alone) is State.CANCELLED
    assert (await h.record(adopted)).cancel_requested
    await h.pass_time(4.0)
    assert await h.state(adopted) is State.CANCELLED
    assert h.listener.revocations[-1].lost


async def test_limits_go_on(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    await h.agent("a")
    close, start, delayed = await h.submit_many(
        [
            Submission(METHOD, schedule_to_close_s=3.0),
            Submission(METHOD, schedule_to_start_s=3.0),
            Submission(METHOD, delay_s=3.0),
        ]
    )
    h = await store_factory.reopen(h, crash=crash)
    await h.pass_time(3.0)
    assert await h.state(close) is State.FAILED
    # While it is held back it may have started in time, for all that is known, and is not judged.
    assert await h.state(start) is (State.QUEUED if store_factory.forgets_claims else State.FAILED)
    assert [claimed.task_id for claimed in await h.claim(await h.agent("b"), limit=5)] == [delayed]
    await h.pass_time(GRACE_S)
    assert await h.state(start) is State.FAILED


async def test_a_retried_task_survives(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    task_id = await h.submit(Submission(METHOD, b"payload", schedule_to_close_s=10.0))
    await h.pass_time(10.0)
    await h.store.retry(task_id)
    h.clock.advance(6.0)
    h = await store_factory.reopen(h, crash=crash)
    claimed = await h.claim_one(await h.agent())
    assert (claimed.payload, claimed.deadline_at) == (b"payload", h.clock() + 4.0)
    assert await h.end(claimed) is Verdict.STORED
    h = await store_factory.reopen(h, crash=crash)
    assert await h.state(task_id) is State.SUCCEEDED


async def test_forgetting_goes_on(store_factory: StoreFactory, crash: bool) -> None:
    h = await store_factory.open()
    task_id = await h.submit(Submission(METHOD, result_ttl_s=10.0))
    await h.cancel(task_id)
    h = await store_factory.reopen(h, crash=crash)
    assert (await h.pass_time(10.0)).forgotten == 1
    assert await h.store.get([task_id]) == [None]
    h = await store_factory.reopen(h, crash=crash)
    h.clock.advance(-1e6)
    assert await h.submit() > task_id


async def test_an_unknown_attempt_is_not_adopted_after_a_restart(store_factory: StoreFactory) -> None:
    h = await store_factory.open()
    await h.agent("a")
    await h.submit()
    h = await store_factory.reopen(h, crash=True)
    fresh = await h.submit()
    owner = await h.agent("a")
    held = [(AttemptRef(fresh, 1), 1), (AttemptRef(h.store.new_task_id(METHOD), 1), 1)]
    assert await h.adopt(owner, held) == [False, False]
