"""What coordinators of a store post to each other: heard by all at once, kept nowhere, and heard again after a lost connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.store.support import Harness, ManualClock, RecordingListener
from tests.support.redis_server import RedisServer, eventually
from weft.coordinator.store.redis.redis_store import RedisOptions, RedisStore

PREFIX = "test"


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as redis:
        yield redis


async def _open(server: RedisServer) -> Harness:
    clock, listener = ManualClock(), RecordingListener()
    store = RedisStore(server.url, prefix=PREFIX, clock=clock, options=RedisOptions(poll_s=0.1))
    await store.open(listener)
    return Harness(store, clock, listener)


async def _heard(h: Harness, message: bytes) -> None:
    async def heard() -> bool:
        return message in h.listener.posts

    await eventually(heard, f"{message!r} is heard")


async def test_a_post_reaches_all_coordinators(server: RedisServer) -> None:
    here, there = await _open(server), await _open(server)
    try:
        async with server.client() as client:
            before = await client.keys("*")
            # Any bytes, also such as look like another event.
            for message in (b"\x00\xff", b"", b"x" * 300_000):
                await here.store.post(message)
                await _heard(there, message)
            assert sorted(await client.keys("*")) == sorted(before), "nothing is stored"
            await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

        async def again() -> bool:
            await here.store.post(b"again")
            return b"again" in there.listener.posts

        await eventually(again, "it is heard after a lost connection")
        # Other events come as before.
        task_id = await here.submit()
        assert (await there.store.get([task_id]))[0] is not None
    finally:
        await here.store.close()
        await there.store.close()
