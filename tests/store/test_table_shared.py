"""The table of a shared store: news of changes at other coordinators, also when an event is lost, and what that costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.store.support import Harness, ManualClock, RecordingListener
from tests.support.redis_meter import RedisMeter
from tests.support.redis_server import RedisServer, eventually
from weft.coordinator.store.redis.redis_store import RedisOptions, RedisStore
from weft.coordinator.store.table_store import RowConflict, RowDelete, RowPut

PREFIX = "test"


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as redis:
        yield redis


async def _open(server: RedisServer, poll_s: float) -> Harness:
    clock, listener = ManualClock(), RecordingListener()
    store = RedisStore(server.url, prefix=PREFIX, clock=clock, options=RedisOptions(poll_s=poll_s))
    await store.open(listener)
    listener.changed_kinds.clear()
    return Harness(store, clock, listener)


async def _told(h: Harness, kind: str) -> None:
    async def heard() -> bool:
        return kind in h.listener.changed_kinds

    await eventually(heard, f"news of {kind}")
    h.listener.changed_kinds.clear()


async def test_every_coordinator_hears_of_a_change(server: RedisServer) -> None:
    here, there = await _open(server, 60.0), await _open(server, 60.0)
    try:
        (revision,) = await here.store.put_rows([RowPut("k", "a", b"1")])
        assert here.listener.changed_kinds == ["k"]
        await _told(there, "k")
        assert [row.revision for row in (await there.store.list_rows("k", limit=9)).rows] == [revision]
        here.listener.changed_kinds.clear()
        await there.store.delete_rows([RowDelete("k", "a")])
        await _told(here, "k")
        # Whichever comes first wins at both.
        results = await asyncio.gather(
            *(h.store.put_rows([RowPut("k", "a", b"x", expected=0)]) for h in (here, there))
        )
        assert sorted(isinstance(result, RowConflict) for (result,) in results) == [False, True]
    finally:
        await here.store.close()
        await there.store.close()


async def test_a_lost_event_is_found_by_the_poll(server: RedisServer) -> None:
    here, there = await _open(server, 60.0), await _open(server, 0.2)
    try:
        async with server.client() as client:
            # Nobody gets these events: Redis keeps none for a coordinator that does not listen.
            await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await here.store.put_rows([RowPut("k", "a", b"1"), RowPut("k2", "a", b"1")])
        await _told(there, "k2")
    finally:
        await here.store.close()
        await there.store.close()


async def test_what_does_not_change_is_not_asked_for(server: RedisServer) -> None:
    """A poll costs the same with ten thousand rows and with none."""
    here = await _open(server, 0.02)
    spent = []
    try:
        for rows in (0, 10_000):
            for at in range(0, rows, 1000):
                await here.store.put_rows(
                    [RowPut("k", str(n), b"v", due_at=here.clock() + n) for n in range(at, at + 1000)]
                )
            # Past the poll that tells of them.
            await asyncio.sleep(0.1)
            meter = await RedisMeter.start(server)
            await asyncio.sleep(0.5)
            used = await meter.read()
            polls = used.commands["evalsha"]
            assert polls > 5
            spent.append({name: round(count / polls) for name, count in used.commands.items()})
        assert spent[0] == spent[1]
        assert "hget" not in spent[1]
    finally:
        await here.store.close()
