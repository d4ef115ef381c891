"""Locks: exclusive and shared, several together, and who holds and waits for them."""

from __future__ import annotations

import asyncio

from tests.store.support import METHOD, Harness, StoreFactory, ref
from weft.coordinator.store.records import LockHolder, Submission
from weft.coordinator.store.run_limits import LockClaim


def locked(*names: str, shared: bool = False, priority: int = 5) -> Submission:
    return Submission(METHOD, locks=tuple(LockClaim(name, shared) for name in names), priority=priority)


async def test_an_exclusive_lock_is_held_by_one(h: Harness) -> None:
    owner = await h.agent()
    ids = await h.submit_many([locked("db"), locked("db"), locked("other"), Submission(METHOD)])
    claims = await h.claim_all(owner)
    assert [claimed.task_id for claimed in claims] == [ids[0], ids[2], ids[3]]
    assert (await h.record(ids[1])).limited_by == "lock db"
    await h.end(claims[0])
    assert [claimed.task_id for claimed in await h.claim_all(owner)] == [ids[1]]


async def test_a_shared_lock_is_held_by_many(h: Harness) -> None:
    owner = await h.agent()
    ids = await h.submit_many([locked("db", shared=True)] * 3 + [locked("db")])
    claims = await h.claim_all(owner)
    assert [claimed.task_id for claimed in claims] == ids[:3]
    for claimed in claims[:2]:
        await h.end(claimed)
        assert await h.claim_all(owner) == []
    await h.end(claims[2])
    assert [claimed.task_id for claimed in await h.claim_all(owner)] == [ids[3]]


async def test_shared_claims_do_not_starve_an_exclusive_one(h: Harness) -> None:
    owner = await h.agent()
    await h.submit(locked("db", shared=True))
    (first,) = await h.claim_all(owner)
    exclusive = await h.submit(locked("db"))
    assert await h.claim_all(owner) == []
    # Younger than the exclusive one: they wait, whatever their priority.
    young = await h.submit_many([locked("db", shared=True), locked("db", shared=True, priority=9)])
    assert await h.claim_all(owner) == []
    # All may run when the lock is free; the priority decides.
    await h.end(first)
    (urgent,) = await h.claim_all(owner)
    assert urgent.task_id == young[1]
    await h.end(urgent)
    (claimed,) = await h.claim_all(owner)
    assert claimed.task_id == exclusive
    await h.end(claimed)
    assert [claimed.task_id for claimed in await h.claim_all(owner)] == [young[0]]


async def test_shared_claims_that_are_older_join_the_first_one(h: Harness) -> None:
    owner = await h.agent()
    await h.submit(locked("db"))
    (first,) = await h.claim_all(owner)
    shared = await h.submit_many([locked("db", shared=True)] * 3)
    await h.submit_many([locked("db"), locked("db", shared=True)])
    assert await h.claim_all(owner) == []
    await h.end(first)
    # All that are older than the exclusive one, and not the one that is younger.
    assert {claimed.task_id for claimed in await h.claim_all(owner)} == set(shared)


async def test_a_task_that_waits_for_another_lock_lets_the_next_one_go(h: Harness) -> None:
    owner = await h.agent()
    await h.submit_many([locked("a"), locked("b")])
    of_a, of_b = await h.claim_all(owner)
    both, next_of_a = await h.submit_many([locked("a", "b"), locked("a")])
    assert await h.claim_all(owner) == []
    await h.end(of_a)
    (claimed,) = await h.claim_all(owner)
    assert claimed.task_id == next_of_a
    assert (await h.record(both)).limited_by in {"lock a", "lock b"}
    await h.end(of_b)
    await h.end(claimed)
    assert [claimed.task_id for claimed in await h.claim_all(owner)] == [both]


async def test_several_locks_are_taken_together(h: Harness) -> None:
    owner = await h.agent()
    ids = await h.submit_many([locked("a"), locked("b", "a"), locked("a", "b"), locked("b")])
    claims = await h.claim_all(owner)
    # The second one waits for `a` and does not hold `b` meanwhile.
    assert [claimed.task_id for claimed in claims] == [ids[0], ids[3]]
    await h.end(claims[0])
    assert await h.claim_all(owner) == []
    await h.end(claims[1])
    (claimed,) = await h.claim_all(owner)
    await h.end(claimed)
    (last,) = await h.claim_all(owner)
    assert {claimed.task_id, last.task_id} == set(ids[1:3])


async def test_two_tasks_that_name_locks_in_another_order_both_run(h: Harness) -> None:
    owner = await h.agent()
    await h.submit_many([locked("a", "b"), locked("b", "a")] * 20)
    done = 0
    while claims := await h.claim_all(owner):
        assert len(claims) == 1
        await h.end(claims[0])
        done += 1
    assert done == 40


async def test_tasks_of_an_events_key_keep_their_order_when_an_attempt_is_lost(h: Harness) -> None:
    one, other = await h.agent("a"), await h.agent("b", lease_s=1000.0)
    ids = await h.submit_many([locked("event:u:k")] * 3)
    (claimed,) = await h.claim_all(one)
    # They are parked now, and one is not yet.
    assert await h.claim_all(other) == []
    ids += await h.submit_many([locked("event:u:k")])
    # Its handler has crashed: it is the first one, also while that is stored.
    _, between = await asyncio.gather(h.end(claimed, crashed=True), h.claim_all(other))
    (claimed,) = between or await h.claim_all(one)
    assert (claimed.task_id, claimed.attempt) == (ids[0], 2)
    if between:
        await h.store.release(other, [ref(claimed)])
        (claimed,) = await h.claim_all(one)
    # Its agent is lost. It may be the only one.
    await h.pass_time(11.0)
    assert {queue.avoid for queue in h.store.ready_depths()} == {""}
    for expected in ids:
        (claimed,) = await h.claim_all(other)
        assert claimed.task_id == expected
        await h.end(claimed)


async def test_who_holds_and_who_waits(h: Harness) -> None:
    assert await h.store.locks() == []
    owner = await h.agent()
    began = h.clock()
    ids = await h.submit_many([locked("db", shared=True), locked("db"), locked("disk"), locked("db")])
    claims = await h.claim_all(owner)
    db, disk = await h.store.locks()
    assert (db.name, db.waiting) == ("db", 2)
    assert list(db.holders) == [LockHolder(ids[0], "a", began, shared=True)]
    assert (disk.name, list(disk.holders)) == ("disk", [LockHolder(ids[2], "a", began)])
    assert list(await h.store.locks("db")) == [db]
    assert list(await h.store.locks("none")) == []
    for claimed in claims:
        await h.end(claimed)
    assert [each.name for each in await h.store.locks()] == ["db"]
    for _ in range(2):
        await h.end((await h.claim_all(owner))[0])
    assert await h.store.locks() == []


async def test_a_lost_agent_gives_its_locks_back(h: Harness) -> None:
    lost, other = await h.agent("lost", lease_s=5.0), await h.agent("other", lease_s=1e9)
    await h.submit_many([locked("db")] * 2)
    (claimed,) = await h.claim_all(lost)
    assert await h.claim_all(other) == []
    await h.pass_time(5.0)
    (again,) = await h.claim_all(other)
    await h.end(again)
    assert len(await h.claim_all(other)) == 1
    assert claimed.owner == lost


async def test_locks_are_held_again_after_a_restart(store_factory: StoreFactory, h: Harness) -> None:
    old = await h.agent(lease_s=1e9)
    ids = await h.submit_many([locked("db"), locked("db"), locked("db", shared=True)])
    (running,) = await h.claim_all(old)
    h = await store_factory.reopen(h, crash=True)
    assert (await h.record(ids[2])).submission.locks == (LockClaim("db", shared=True),)
    late = await h.agent("late", lease_s=1e9)
    await h.adopt(late, [])
    # Nobody knows yet whether an attempt of before the restart holds the lock.
    await h.submit(locked("db", priority=9))
    assert await h.claim_all(late) == []
    new = await h.agent(lease_s=1e9)
    assert await h.adopt(new, [(ref(running), old.epoch)]) == [True]
    assert await h.claim_all(late) == []
    (db,) = await h.store.locks("db")
    assert [holder.task_id for holder in db.holders] == [ids[0]]
    running.owner = new
    await h.end(running)
    assert len(await h.claim_all(late)) == 1


async def test_a_retried_task_takes_its_locks_again(h: Harness) -> None:
    owner = await h.agent()
    task_id = await h.submit(locked("db"))
    await h.cancel(task_id)
    await h.store.retry(task_id)
    other = await h.submit(locked("db"))
    (claimed,) = await h.claim_all(owner)
    assert claimed.task_id == task_id
    assert (await h.record(other)).limited_by == "lock db"
