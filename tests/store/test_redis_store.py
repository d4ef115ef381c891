"""What only the Redis store has to show: memory, what is left behind, answers that are lost, scripts that are forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.store.support import METHOD, Harness, ManualClock, RecordingListener
from tests.support.fault_proxy import FaultProxy
from tests.support.redis_server import RedisServer
from weft.coordinator.rules import REQUEST_ID_TTL_S, State
from weft.coordinator.store.records import Submission
from weft.coordinator.store.redis.store import RedisStore
from weft.rpc.errors import Unavailable

PREFIX = "test"


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as redis:
        yield redis


async def _open(url: str, *, timeout_s: float = 5.0, poll_s: float = 0.05) -> Harness:
    clock, listener = ManualClock(), RecordingListener()
    store = RedisStore(url, prefix=PREFIX, clock=clock, timeout_s=timeout_s, poll_s=poll_s)
    await store.open(listener)
    return Harness(store, clock, listener)


@pytest_asyncio.fixture
async def h(server: RedisServer) -> AsyncIterator[Harness]:
    harness = await _open(server.url)
    yield harness
    await harness.store.close()


async def _names(client: Redis) -> list[str]:
    return sorted([name async for name in client.scan_iter(count=1000)])


async def test_a_queued_task_takes_less_than_a_kilobyte(h: Harness, server: RedisServer) -> None:
    async with server.client() as client:
        before = (await client.info("memory"))["used_memory"]
        for _ in range(20):
            await h.submit_many([Submission(METHOD, bytes(200))] * 500)
        after = (await client.info("memory"))["used_memory"]
    each_bytes = (after - before) / 10_000
    assert each_bytes < 1000, f"{each_bytes:.0f} B a task"


async def test_finished_tasks_leave_nothing_behind(h: Harness, server: RedisServer) -> None:
    async with server.client() as client:
        owner = await h.agent(lease_s=1e9)
        await h.sweep()
        before = await _names(client)
        submissions = [
            Submission(METHOD, b"payload", request_id=request_id, schedule_to_close_s=1e6, context=b"context")
            for request_id in ("", "r1", "r2", "")
        ]
        await h.submit_many(submissions)
        for claimed in await h.claim(owner, limit=3):
            await h.stream(claimed, 1)
            await h.end(claimed)
        for task_id in await h.find():
            await h.cancel(task_id)
        await h.pass_time(REQUEST_ID_TTL_S * 8)
        assert await h.find() == []
        # The claim's own note passes by itself.
        left = [name for name in await _names(client) if ":claim:" not in name]
        assert set(left) - set(before) <= {f"{{{PREFIX}}}:last", f"{{{PREFIX}}}:unfinished"}
        assert await client.get(f"{{{PREFIX}}}:unfinished") == "0"


async def test_forgotten_scripts_are_loaded_again(h: Harness, server: RedisServer) -> None:
    async with server.client() as client:
        await h.submit()
        await client.script_flush()
        owner = await h.agent()
        claimed = await h.claim_one(owner)
        await client.script_flush()
        await h.end(claimed)
        assert await h.state(claimed.task_id) is State.SUCCEEDED


async def test_a_claim_whose_answer_is_lost_is_undone(server: RedisServer) -> None:
    """Nobody else would ever know of it: its agent lives and renews its lease."""
    async with FaultProxy(server.address) as proxy:
        h = await _open(f"redis://{proxy.address}/0", timeout_s=0.5)
        owner = await h.agent(lease_s=1e6)
        task_id = await h.submit()
        await proxy.slow(30.0, "down")
        with pytest.raises(Unavailable):
            await h.claim(owner)
        assert not h.store.writable
        await proxy.heal()
        async with asyncio.timeout(10):
            while not h.store.writable or h.store.unfinished() != 1 or not h.store.ready_depths():
                await asyncio.sleep(0.01)
        claimed = await h.claim_one(owner)
        assert (claimed.task_id, claimed.attempt) == (task_id, 1)
        await h.store.close()


async def test_a_key_of_another_type_in_the_way(h: Harness, server: RedisServer) -> None:
    async with server.client() as client:
        await client.set(f"{{{PREFIX}}}:timers", "a shopping list")
        with pytest.raises(Unavailable):
            await h.sweep()
        await client.delete(f"{{{PREFIX}}}:timers")
        await h.sweep()
        assert h.store.writable


async def test_a_redis_that_hangs(h: Harness, server: RedisServer) -> None:
    quick = await _open(server.url, timeout_s=0.3)
    server.pause()
    with pytest.raises(Unavailable):
        await quick.submit()
    server.resume()
    async with asyncio.timeout(10):
        while not quick.store.writable:
            await asyncio.sleep(0.01)
    assert await quick.state(await quick.submit()) is State.QUEUED
    await quick.store.close()
