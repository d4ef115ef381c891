"""Unacknowledged tasks on Redis: stored with their end, or in their present state before any other request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from google.rpc import code_pb2

from tests.store.support import METHOD, Harness, ManualClock, RecordingListener, error_of
from tests.support.redis_server import RedisServer
from weft.coordinator.store import linger
from weft.coordinator.store.records import AttemptRef, Claimed, Owner, Submission, Verdict
from weft.coordinator.store.redis.redis_store import RedisOptions, RedisStore
from weft.coordinator.store.rules import QueueKey, Requirements, State
from weft.coordinator.store.store_config import StoreLimits
from weft.rpc.errors import ResourceExhausted, Unavailable

PREFIX = "test"
TASK = Submission(METHOD, b"payload", context=b"context")


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as redis:
        yield redis


async def _open(server: RedisServer) -> Harness:
    clock, listener = ManualClock(), RecordingListener()
    # It polls seldom, so that commands can be counted.
    store = RedisStore(
        server.url, prefix=PREFIX, clock=clock, options=RedisOptions(timeout_s=1.0, poll_s=60.0)
    )
    await store.open(listener)
    return Harness(store, clock, listener)


@pytest_asyncio.fixture
async def h(server: RedisServer) -> AsyncIterator[Harness]:
    harness = await _open(server)
    yield harness
    await harness.store.close()


async def _enqueue(h: Harness, *given: Submission) -> list[str]:
    results = await h.store.enqueue(given or (TASK,), acknowledged=False)
    return [result.task_id for result in results]


async def _scripts_run(server: RedisServer) -> int:
    async with server.client() as client:
        stats = await client.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])


async def _begin(h: Harness) -> tuple[Owner, Claimed]:
    owner = await h.agent(lease_s=1e6)
    (task_id,) = await _enqueue(h)
    claimed = await h.claim_one(owner)
    assert (claimed.task_id, claimed.attempt) == (task_id, 1)
    assert (claimed.payload, claimed.context) == (b"payload", b"context")
    return owner, claimed


async def test_a_short_call_is_one_script(h: Harness, server: RedisServer) -> None:
    owner = await h.agent(lease_s=1e6)
    # The scripts are loaded.
    await h.submit_many([])
    await h.end(await _claimed_deferred(h, owner))
    before = await _scripts_run(server)
    claimed = await _claimed_deferred(h, owner)
    assert await h.end(claimed) is Verdict.STORED
    assert await _scripts_run(server) == before + 1
    record = await h.record(claimed.task_id)
    assert (record.state, record.attempt, record.agent_id) == (State.SUCCEEDED, 1, "a")
    assert (record.submission.payload, record.outcome) == (b"payload", b"outcome")
    assert h.listener.states(claimed.task_id)[-1] is State.SUCCEEDED
    assert h.store.unfinished() == 0
    # A report that is repeated is answered like the first.
    assert await h.end(claimed) is Verdict.STORED
    await h.pass_time(3601)
    assert await h.find() == []


async def _claimed_deferred(h: Harness, owner: Owner) -> Claimed:
    await _enqueue(h)
    return await h.claim_one(owner)


async def test_a_longer_one_is_seen_by_others(h: Harness, server: RedisServer) -> None:
    _, claimed = await _begin(h)
    other = await _open(server)
    async with asyncio.timeout(5):
        while await other.store.get([claimed.task_id]) == [None]:
            await asyncio.sleep(0.001)
    assert await other.state(claimed.task_id) is State.RUNNING
    assert await h.end(claimed) is Verdict.STORED
    assert await other.state(claimed.task_id) is State.SUCCEEDED
    await other.store.close()


async def test_a_failure_is_tried_again(h: Harness) -> None:
    _, claimed = await _begin(h)
    assert await h.end(claimed, code_pb2.UNAVAILABLE) is Verdict.RETRYING
    assert (await h.record(claimed.task_id)).attempt == 1


async def test_another_request_stores_it_first(h: Harness) -> None:
    owner, claimed = await _begin(h)
    assert await h.state(claimed.task_id) is State.RUNNING
    (task_id,) = await _enqueue(h)
    assert await h.find() == sorted([claimed.task_id, task_id], reverse=True)
    (task_id,) = await _enqueue(h)
    record = await h.cancel(task_id)
    assert record is not None
    assert record.state is State.CANCELLED
    (task_id,) = await _enqueue(h)
    assert (await h.store.depths())[QueueKey(METHOD)].queued == 2
    (task_id,) = await _enqueue(h)
    given = {each.task_id: each for each in await h.claim(owner, 10)}
    assert await h.store.release(owner, [AttemptRef(task_id, given[task_id].attempt)]) == [True]
    assert await h.state(task_id) is State.QUEUED


async def test_tasks_in_redis_come_first(h: Harness) -> None:
    """As they are older, or more important; the store cannot tell without asking."""
    owner = await h.agent(lease_s=1e6)
    (deferred,) = await _enqueue(h)
    first = await h.submit(Submission(METHOD, priority=9))
    assert [claimed.task_id for claimed in await h.claim(owner, 5)] == [first, deferred]


async def test_without_an_agent_here_it_is_stored_at_once(h: Harness, server: RedisServer) -> None:
    """An agent elsewhere takes it."""
    h.listener.room = False
    other = await _open(server)
    owner = await other.agent(lease_s=1e6)
    (task_id,) = await _enqueue(h)
    assert h.store.unfinished() == 1
    async with asyncio.timeout(5):
        while not (claims := await other.claim(owner)):
            await asyncio.sleep(0)
    assert [claimed.task_id for claimed in claims] == [task_id]
    await other.store.close()


async def test_an_owner_whose_lease_has_passed_gets_nothing(h: Harness) -> None:
    owner = await h.agent(lease_s=5.0)
    await _enqueue(h)
    await h.pass_time(6.0)
    await _enqueue(h)
    assert await h.claim(owner) == []


async def test_an_agent_that_is_lost_before_it_is_stored(h: Harness, server: RedisServer) -> None:
    owner = await h.agent(lease_s=5.0)
    async with server.client() as client:
        # Another coordinator has swept the lease. Before the claim: from then on there are milliseconds.
        await client.zrem(f"{{{PREFIX}}}:owners", f"{owner.epoch}#{owner.agent_id}")
    claimed = await _claimed_deferred(h, owner)
    record = await h.record(claimed.task_id)
    assert (record.state, record.crashes) == (State.QUEUED, 1)
    assert [(each.owner, each.ref.task_id, each.lost) for each in h.listener.revocations] == [
        (owner, claimed.task_id, True)
    ]
    assert await h.end(claimed) is Verdict.STALE


async def test_without_redis_its_caller_is_told(h: Harness, server: RedisServer) -> None:
    owner = await h.agent(lease_s=1e6)
    # It is followed by the id that its caller drew.
    await _enqueue(h, Submission(METHOD, task_id=h.store.new_task_id(METHOD)))
    claimed = await h.claim_one(owner)
    await server.kill()
    with pytest.raises(Unavailable):
        await h.end(claimed)
    assert h.listener.states(claimed.task_id) == [State.FAILED]
    with pytest.raises(Unavailable):
        await _enqueue(h)


async def test_a_crash_leaves_no_trace_of_it(
    h: Harness, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody was told of it: its caller hears UNAVAILABLE."""
    # A busy machine takes longer to look than a task usually waits for its end.
    monkeypatch.setattr(linger, "LINGER_S", 60.0)
    _, claimed = await _begin(h)
    async with server.client() as client:
        names = [name async for name in client.scan_iter(count=1000)]
    assert not [name for name in names if claimed.task_id in name]


async def test_a_task_that_would_make_a_queue_too_many_ends_for_who_waits(server: RedisServer) -> None:
    """It is stored before anybody claims it, and refused: nobody was told of it, but its caller follows it."""
    listener = RecordingListener()
    store = RedisStore(
        server.url,
        prefix="small",
        clock=ManualClock(),
        options=RedisOptions(poll_s=60.0),
        limits=StoreLimits(max_queues=1),
    )
    await store.open(listener)
    listener.room = False
    for zone in ("eu", "us"):
        given = Submission(
            METHOD, task_id=store.new_task_id(METHOD), requirements=Requirements.of({"zone": zone}, {})
        )
        await store.enqueue([given], acknowledged=False)
    async with asyncio.timeout(10):
        while not listener.states(given.task_id):
            await asyncio.sleep(0.01)
    (told,) = [record for record in listener.changes if record.task_id == given.task_id]
    assert isinstance(error_of(told), ResourceExhausted)
    assert await store.get([given.task_id]) == [None]
    await store.close()
