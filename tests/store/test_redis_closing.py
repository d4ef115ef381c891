"""The Redis store leaves no connection open, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.store.support import METHOD, Harness, ManualClock, RecordingListener
from tests.support.redis_server import RedisServer
from weft.coordinator.store.records import Submission
from weft.coordinator.store.redis.redis_store import RedisStore

PREFIX = "closing"


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as redis:
        yield redis


@pytest_asyncio.fixture
async def probe(server: RedisServer) -> AsyncIterator[Redis]:
    async with server.client() as client:
        await client.ping()
        yield client


async def connections(probe: Redis) -> int:
    """Those of the server, without the probe's own."""
    return len(await probe.client_list()) - 1


async def none_left(probe: Redis) -> bool:
    """The server hears of a closed connection a moment later."""
    async with asyncio.timeout(5.0):
        while await connections(probe):
            await asyncio.sleep(0.005)
    return True


async def opened(server: RedisServer) -> Harness:
    store, clock, listener = RedisStore(server.url, prefix=PREFIX), ManualClock(), RecordingListener()
    await store.open(listener)
    h = Harness(store, clock, listener)
    task_id = await h.submit(Submission(METHOD))
    # Reads at the same time have a connection each.
    await asyncio.gather(*(h.record(task_id) for _ in range(3)))
    return h


@pytest.mark.parametrize("turns", [None, 0, 1, 2, 4, 8], ids=lambda turns: f"cancelled-{turns}")
async def test_a_closed_store_has_no_connection(server: RedisServer, probe: Redis, turns: int | None) -> None:
    """`turns`: its close is cancelled after so many turns of the event loop; None: it is not."""
    h = await opened(server)
    assert await connections(probe) > 2
    closing = asyncio.ensure_future(h.store.close())
    if turns is not None:
        for _ in range(turns):
            await asyncio.sleep(0)
        closing.cancel()
    await asyncio.wait([closing])
    if turns != 0:
        assert await none_left(probe)
    else:
        # It had not begun.
        await h.store.close()
        assert await none_left(probe)


async def test_a_store_that_does_not_open_has_no_connection(server: RedisServer, probe: Redis) -> None:
    """Its opening is cancelled at each of its steps."""
    cancelled, is_open = 0, False
    turns = 0
    while not is_open:
        store = RedisStore(server.url, prefix=PREFIX)
        opening = asyncio.ensure_future(store.open(RecordingListener()))
        for _ in range(turns):
            await asyncio.sleep(0)
        is_open = not opening.cancel()
        await asyncio.wait([opening])
        if opening.cancelled():
            cancelled += 1
        else:
            # It is open; or the client has swallowed the cancellation while it dialled.
            await store.close()
        assert await none_left(probe)
        turns += 5
    assert cancelled > 1
