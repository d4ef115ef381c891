"""An agent that comes back with a hundred thousand attempts: others have their turn meanwhile, at the coordinator and in Redis."""

from __future__ import annotations

import asyncio
import gc
import time
import uuid

from tests.store.support import METHOD, Harness, ref
from tests.support.lightweight import hello
from weft.coordinator.sessions.assignments import NO_TREE
from weft.coordinator.sessions.handshake import PORTION, Opener
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import State
from weft.v1 import session_pb2

HELD = 100_000
LIVING = 2_000
MOST_STEP_S = 0.05


async def _steps(over: asyncio.Event) -> list[float]:
    """The processor time that each turn of the loop takes: other work on the machine does not count, nor the collector's
    rounds through all that the tests keep."""
    steps, before_s = [], time.thread_time()
    gc.disable()
    try:
        while not over.is_set():
            await asyncio.sleep(0)
            now_s = time.thread_time()
            steps.append(now_s - before_s)
            before_s = now_s
    finally:
        gc.enable()
    return steps


def _held(task_id: str, attempt: int, epoch: int, *, finished: bool) -> session_pb2.HeldAttempt:
    return session_pb2.HeldAttempt(task_id=task_id, attempt=attempt, epoch=epoch, finished=finished)


async def test_a_hello_with_many_attempts_blocks_nobody(h: Harness) -> None:
    opener = Opener(h.store, CoordinatorSettings(store="unused"), "test", {})
    instance_id = uuid.uuid4().hex
    old = await h.agent("a", lease_s=1e6, instance_id=instance_id)
    ids = []
    for _ in range(LIVING // 500):
        ids += await h.submit_many([Submission(METHOD)] * 500)
    claims = await h.claim(old, limit=LIVING)
    unheard = claims[-10:]
    await h.store.detach(old, 1e6)

    held = [_held(claim.task_id, claim.attempt, old.epoch, finished=False) for claim in claims[:-10]]
    held += [_held(f"{n:016x}", 1, old.epoch, finished=True) for n in range(1, HELD - len(held) + 1)]
    greeting = hello("a", slots=10_000, methods=[METHOD], held=held, instance_id=instance_id)
    session = await opener.register(greeting, 1)
    over = asyncio.Event()
    watching = asyncio.create_task(_steps(over))
    await asyncio.sleep(0)
    welcome = await opener.settle(session)
    over.set()
    steps = await watching
    print(f"{len(steps)} turns, the longest {max(steps) * 1000:.1f} ms")
    assert max(steps) < MOST_STEP_S
    assert len(steps) >= HELD // PORTION

    assert [item.task_id for item in welcome.adopted] == [claim.task_id for claim in claims[:-10]]
    assert len(welcome.lost) == HELD - len(welcome.adopted)
    assert len(session.held) == session.used_slots == LIVING - 10
    assert {await h.state(claim.task_id) for claim in unheard} == {State.QUEUED}


async def test_an_adopted_attempt_counts_for_its_tree(h: Harness) -> None:
    """Another coordinator has assigned it: the agent says which tree it belongs to, and may say anything."""
    opener = Opener(h.store, CoordinatorSettings(store="unused"), "test", {})
    instance_id = uuid.uuid4().hex
    old = await h.agent("a", lease_s=1e6, instance_id=instance_id)
    await h.submit_many([Submission(METHOD)] * 3)
    claims = await h.claim(old, limit=3)
    await h.store.detach(old, 1e6)
    held = [_held(claim.task_id, claim.attempt, old.epoch, finished=False) for claim in claims]
    held[0].root_id = "root"
    held[0].budget_task_ids.extend(["root", "part"])
    held[1].root_id = "r" * 10_000
    held[1].budget_task_ids.extend(["", "b" * 10_000, *(f"b{n}" for n in range(1000))])
    session = await opener.register(
        hello("a", slots=9, methods=[METHOD], held=held, instance_id=instance_id), 1
    )
    await opener.settle(session)
    trees = [session.held[ref(claim)][4] for claim in claims]
    assert trees[0] == ("root", ("root", "part"))
    assert trees[1].root_id == ""
    assert trees[1].budgets == tuple(f"b{n}" for n in range(6))
    assert trees[2] == NO_TREE


async def test_what_a_session_held_is_taken_back_in_portions(h: Harness) -> None:
    """By the goodbye itself only some; sweeps take the rest, and nothing twice."""
    count = 1_500
    for _ in range(3):
        await h.submit_many([Submission(METHOD)] * (count // 3))
    for end in ("retire", "lease", "hello"):
        owner = await h.agent("a", lease_s=10.0)
        assert len(await h.claim(owner, limit=count)) == count
        first = 0
        if end == "retire":
            await h.store.retire(owner)
        elif end == "hello":
            other = await h.agent("a", lease_s=1e6)
            assert await h.adopt(other, []) == []
        else:
            h.clock.advance(10.0)
            report = await h.store.sweep(250)
            first, lost = report.reclaimed, report.lost_owners
            assert (first, lost) == (250, [owner])
        states = [record.state for record in await h.store.get(await h.find(limit=2000)) if record]
        assert 0 < states.count(State.QUEUED) < count / 2
        assert list(await h.store.renew([owner], 10.0)) == [False]
        assert await h.claim(owner) == []
        sweeps = []
        while (report := await h.store.sweep(250)).reclaimed:
            assert report.lost_owners == []
            sweeps.append(report.reclaimed)
        assert max(sweeps) <= 250
        records = [record for record in await h.store.get(await h.find(limit=2000)) if record]
        assert {record.state for record in records} == {State.QUEUED}
        if end == "hello":
            # The same process never heard of them.
            assert {record.crashes for record in records} == {2}
            await h.store.retire(other)


async def test_attempts_that_come_with_a_later_portion_are_not_lost_before(h: Harness) -> None:
    await h.submit_many([Submission(METHOD)] * 3)
    old = await h.agent("a", lease_s=1.0)
    first, second, third = await h.claim(old, limit=3)
    new = await h.agent("a", lease_s=10.0)
    assert await h.adopt(new, [(ref(first), old.epoch)], last=False) == [True]
    assert (await h.pass_time(5.0)).lost_owners == []
    assert await h.adopt(new, [(ref(second), old.epoch)]) == [True]
    states = [await h.state(claim.task_id) for claim in (first, second, third)]
    assert states == [State.RUNNING, State.RUNNING, State.QUEUED]
