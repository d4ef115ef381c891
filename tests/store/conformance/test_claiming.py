"""Claims: the tasks for each session, their order, and the bounds."""

from __future__ import annotations

import asyncio

from tests.store.support import METHOD, OTHER_METHOD, Harness, ref
from weft.coordinator.store.records import ClaimRequest, Owner, QueueDepth, Submission
from weft.coordinator.store.rules import QueueKey, Requirements, State

GPU = Requirements.of({"gpu": "yes"}, {})


async def test_the_best_priority_first_then_the_oldest(h: Harness) -> None:
    priorities = [5, 9, 0, 5, 9, 3]
    ids = await h.submit_many([Submission(METHOD, priority=priority) for priority in priorities])
    claims = await h.claim(await h.agent(), limit=10)
    assert [claimed.task_id for claimed in claims] == [ids[i] for i in (1, 4, 0, 3, 5, 2)]
    assert [claimed.attempt for claimed in claims] == [1] * 6
    assert await h.claim(claims[0].owner) == []


async def test_the_best_over_all_queues(h: Harness) -> None:
    ids = await h.submit_many(
        [
            Submission(METHOD, priority=5),
            Submission(OTHER_METHOD, priority=5),
            Submission(METHOD, priority=4),
            Submission(OTHER_METHOD, priority=6),
        ]
    )
    claims = await h.claim(await h.agent(), limit=10, methods=(METHOD, OTHER_METHOD))
    assert [claimed.task_id for claimed in claims] == [ids[i] for i in (3, 0, 1, 2)]


async def test_only_queues_that_are_asked_for(h: Harness) -> None:
    await h.submit_many([Submission(OTHER_METHOD), Submission(METHOD, requirements=GPU)])
    owner = await h.agent()
    assert await h.claim(owner, limit=10) == []
    assert len(await h.claim(owner, limit=10, requirements=GPU)) == 1


async def test_a_claim_says_what_its_task_consumes(h: Harness) -> None:
    uses = Requirements.of({"gpu": "yes"}, {}, {"gpu": 1.0, "memory_bytes": 4e9})
    await h.submit_many([Submission(METHOD, requirements=uses), Submission(METHOD)])
    owner = await h.agent()
    request = ClaimRequest(
        owner, {QueueKey(METHOD): 1, QueueKey(METHOD, uses): 1}, 10, 10, {"gpu": 2.0, "memory_bytes": 8e9}
    )
    (claims,) = await h.store.claim([request])
    assert [claimed.consumes for claimed in claims] == [(("gpu", 1.0), ("memory_bytes", 4e9)), ()]


async def test_each_task_goes_to_one_owner(h: Harness) -> None:
    await h.submit_many([Submission(METHOD)] * 50)
    owners = [await h.agent(f"a{i}") for i in range(5)]
    requests = [ClaimRequest(owner, {QueueKey(METHOD): 1}, slots=15, limit=15) for owner in owners]
    given = await h.store.claim(requests)
    assert [len(claims) for claims in given] == [15, 15, 15, 5, 0]
    assert len({claimed.task_id for claims in given for claimed in claims}) == 50
    assert all(claimed.owner == owner for owner, got in zip(owners, given, strict=True) for claimed in got)


async def test_concurrent_claims_never_share(h: Harness) -> None:
    await h.submit_many([Submission(METHOD)] * 30)
    owners = [await h.agent(f"a{i}") for i in range(4)]
    given = await asyncio.gather(*(h.claim(owner, limit=10) for owner in owners))
    ids = [claimed.task_id for claims in given for claimed in claims]
    assert len(ids) == len(set(ids)) == 30


async def test_slots_and_costs(h: Harness) -> None:
    dear, cheap = QueueKey(METHOD), QueueKey(OTHER_METHOD)
    await h.submit_many(
        [Submission(OTHER_METHOD), Submission(METHOD), Submission(OTHER_METHOD), Submission(OTHER_METHOD)]
    )
    owner = await h.agent()
    (claims,) = await h.store.claim([ClaimRequest(owner, {dear: 3, cheap: 1}, slots=3, limit=10)])
    # The dear task is next and does not fit: cheap ones behind it wait with it.
    assert [(claimed.method, claimed.cost) for claimed in claims] == [(OTHER_METHOD, 1)]
    (claims,) = await h.store.claim([ClaimRequest(owner, {dear: 3, cheap: 1}, slots=4, limit=10)])
    assert [(claimed.method, claimed.cost) for claimed in claims] == [(METHOD, 3), (OTHER_METHOD, 1)]


async def test_one_owner_claims_from_each_queue_apart(h: Harness) -> None:
    """As a placement plug-in plans it: so many tasks of this queue here, and of that one there."""
    await h.submit_many([*[Submission(METHOD)] * 3, *[Submission(OTHER_METHOD)] * 3])
    here, there, first, second = await h.agent("here"), await h.agent("there"), METHOD, OTHER_METHOD
    shares = [(here, first, 3, 2), (there, second, 3, 2), (here, second, 1, 1), (there, first, 1, 1)]
    requests = [
        ClaimRequest(owner, {QueueKey(method): 1}, slots, limit) for owner, method, slots, limit in shares
    ]
    claims = await h.store.claim(requests)
    assert [[each.method for each in batch] for batch in claims] == [
        [METHOD] * 2,
        [OTHER_METHOD] * 2,
        [OTHER_METHOD],
        [METHOD],
    ]
    assert not h.store.ready_depths()


async def test_limits_of_nothing(h: Harness) -> None:
    await h.submit()
    owner = await h.agent()
    key = QueueKey(METHOD)
    given = await h.store.claim([ClaimRequest(owner, {key: 1}, 5, 0), ClaimRequest(owner, {key: 1}, 0, 5)])
    assert [list(claims) for claims in given] == [[], []]


async def test_an_owner_without_a_lease_gets_nothing(h: Harness) -> None:
    await h.submit()
    assert await h.claim(Owner("nobody", 1)) == []
    owner = await h.agent()
    await h.store.retire(owner)
    assert await h.claim(owner) == []


async def test_a_claim_shows(h: Harness) -> None:
    task_id = await h.submit()
    h.clock.advance(2.0)
    claimed = await h.claim_one(await h.agent())
    record = await h.record(task_id)
    assert (record.state, record.attempt, record.agent_id) == (State.RUNNING, 1, "a")
    assert record.started_at == h.clock()
    assert claimed.deadline_at is None
    assert h.listener.states(task_id)[-1] is State.RUNNING


async def test_large_payloads_arrive_whole(h: Harness) -> None:
    payloads = [bytes([i]) * 3_000_000 for i in range(4)]
    ids = await h.submit_many([Submission(METHOD, payload) for payload in payloads])
    owner = await h.agent()
    got = {}
    while claims := await h.claim(owner, limit=10):
        got |= {claimed.task_id: claimed.payload for claimed in claims}
    assert got == dict(zip(ids, payloads, strict=True))


async def test_depths_count_by_state(h: Harness) -> None:
    began = h.clock()
    await h.submit_many([Submission(METHOD)] * 3)
    h.clock.advance(1.0)
    await h.submit_many(
        [Submission(METHOD), Submission(METHOD, delay_s=9.0), Submission(METHOD, requirements=GPU)]
    )
    claimed = await h.claim_one(await h.agent())
    assert await h.store.depths() == {
        QueueKey(METHOD): QueueDepth(queued=3, scheduled=1, running=1, oldest_at=began),
        QueueKey(METHOD, GPU): QueueDepth(queued=1, oldest_at=began + 1.0),
    }
    assert h.store.ready_depths() == {QueueKey(METHOD): 3, QueueKey(METHOD, GPU): 1}
    assert h.store.unfinished() == 6
    await h.store.release(claimed.owner, [ref(claimed)])
    for task_id in await h.find():
        await h.cancel(task_id)
    assert await h.store.depths() == {}
    assert h.store.ready_depths() == {}
    assert h.store.unfinished() == 0


async def test_the_ready_tasks_ahead_of_a_new_one(h: Harness) -> None:
    key = QueueKey(METHOD)
    assert h.store.ready_ahead(key, 9) == 0
    await h.submit_many([Submission(METHOD, priority=each) for each in (5, 5, 9, 0)])
    assert h.store.ready_ahead(key, 0) == 4
    # Those of a lower priority may count.
    assert 1 <= h.store.ready_ahead(key, 9) <= h.store.ready_ahead(key, 5) <= 4
    assert (
        h.store.ready_ahead(QueueKey(METHOD, GPU), 0) == h.store.ready_ahead(QueueKey(OTHER_METHOD), 0) == 0
    )
    await h.claim(await h.agent(), limit=4)
    assert h.store.ready_ahead(key, 0) == 0


async def test_a_paused_method_is_not_claimed(h: Harness) -> None:
    await h.submit_many([Submission(METHOD), Submission(OTHER_METHOD)])
    await h.store.set_paused(METHOD, paused=True)
    assert await h.store.paused() == [METHOD]
    owner = await h.agent()
    claims = await h.claim(owner, limit=10, methods=(METHOD, OTHER_METHOD))
    assert [claimed.method for claimed in claims] == [OTHER_METHOD]
    assert h.store.ready_depths() == {}
    assert (await h.store.depths())[QueueKey(METHOD)].queued == 1
    before = h.listener.ready_calls
    await h.store.set_paused(METHOD, paused=False)
    assert h.listener.ready_calls > before
    assert await h.store.paused() == []
    assert len(await h.claim(owner)) == 1
