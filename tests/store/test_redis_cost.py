"""What coordinators ask of Redis, counted at the server: bytes and commands, never times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest_asyncio

from tests.store.support import METHOD, Harness, ManualClock, RecordingListener
from tests.support.redis_meter import RedisMeter
from tests.support.redis_server import RedisServer
from weft.coordinator.following import follow
from weft.coordinator.hub import TaskHub
from weft.coordinator.rules import State
from weft.coordinator.store.records import ListFilter, ProgressItem, ProgressRow, Submission, TaskRecord
from weft.coordinator.store.redis.store import RedisStore
from weft.rpc.channel import BATCH_BYTES, MAX_PAYLOAD_BYTES

PREFIX = "test"


class HubListener(RecordingListener):
    """A coordinator's own register of followers."""

    def __init__(self) -> None:
        super().__init__(followed=set())
        self.hub = TaskHub(100)

    def wants(self, task_id: str, *, ended: bool) -> bool:
        return self.hub.wants(task_id, ended=ended)

    def followed_tasks(self) -> Sequence[str]:
        return self.hub.followed()

    def changed(self, record: TaskRecord) -> None:
        self.hub.changed(record)

    def progressed(self, task_id: str, rows: Sequence[ProgressRow]) -> None:
        self.hub.progressed(task_id, rows)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as redis:
        yield redis


async def _open(server: RedisServer, *, poll_s: float = 60.0) -> Harness:
    """A store as one coordinator has it. It polls seldom, so that what is asked for can be counted."""
    clock, listener = ManualClock(), HubListener()
    store = RedisStore(server.url, prefix=PREFIX, clock=clock, poll_s=poll_s)
    await store.open(listener)
    return Harness(store, clock, listener)


@pytest_asyncio.fixture
async def here(server: RedisServer) -> AsyncIterator[Harness]:
    harness = await _open(server)
    yield harness
    await harness.store.close()


@pytest_asyncio.fixture
async def there(server: RedisServer, here: Harness) -> AsyncIterator[Harness]:
    harness = await _open(server)
    harness.clock = here.clock
    yield harness
    await harness.store.close()


async def test_a_stream_that_is_followed_elsewhere_moves_each_response_once(
    here: Harness, there: Harness, server: RedisServer
) -> None:
    count, size = 400, 2000
    listener = there.listener
    assert isinstance(listener, HubListener)
    task_id = await here.submit(Submission(METHOD))
    claimed = await here.claim_one(await here.agent(lease_s=1e6))
    seen: list[bytes] = []

    async def read() -> State:
        async for item in follow(there.store, listener.hub, task_id, 0):
            if isinstance(item, ProgressRow):
                seen.append(item.payload)
            elif item.state.terminal:
                return item.state
        raise AssertionError("it has not ended")

    meter = await RedisMeter.start(server)
    reader = asyncio.create_task(read())
    payloads = [index.to_bytes(2, "big") * (size // 2) for index in range(1, count + 1)]
    for index, payload in enumerate(payloads, 1):
        await here.stream(claimed, index, payload)
    await here.end(claimed)
    assert await asyncio.wait_for(reader, 20) is State.SUCCEEDED
    assert seen == payloads
    used = await meter.read()
    assert used.sent_bytes < 3 * count * size, used


async def test_large_responses_are_counted_before_they_are_read(here: Harness, server: RedisServer) -> None:
    size, count = BATCH_BYTES // 2, 40
    task_id = await here.submit(Submission(METHOD))
    claimed = await here.claim_one(await here.agent(lease_s=1e6))
    for index in range(1, count + 1):
        await here.store.progress([ProgressItem(claimed.owner, task_id, 1, index, bytes(size))])
    meter = await RedisMeter.start(server)
    rows = await here.store.read_progress(task_id, 0, 256)
    used = await meter.read()
    assert [row.sequence for row in rows] == [1]
    assert used.sent_bytes < 2 * BATCH_BYTES, used
    # All of it, in as many reads as it takes.
    after = 0
    while rows := await here.store.read_progress(task_id, after, 256):
        assert [row.sequence for row in rows] == list(range(after + 1, after + 1 + len(rows)))
        after = rows[-1].sequence
    assert after == count


async def test_one_answer_of_redis_carries_one_large_value(here: Harness) -> None:
    """A coordinator never asks for hundreds of megabytes at once: payloads and outcomes are counted before."""
    payload = bytes(MAX_PAYLOAD_BYTES)
    client = here.store._link.client  # type: ignore[attr-defined]
    asked: list[int] = []
    mget = client.mget

    async def counted(names: list[str]) -> list[bytes | None]:
        found: list[bytes | None] = await mget(names)
        asked.append(sum(len(raw or b"") for raw in found))
        return found

    client.mget = counted
    ids = await here.submit_many([Submission(METHOD, payload)] * 4 + [Submission(METHOD, bytes(1000))] * 30)
    found = await here.store.get(ids)
    assert [len(record.submission.payload) for record in found if record] == [len(payload)] * 4 + [1000] * 30
    assert max(asked) <= BATCH_BYTES + MAX_PAYLOAD_BYTES
    # The records, each large payload by itself, the small ones together.
    assert len(asked) == 6
    page = await here.store.list_tasks(ListFilter(), limit=100, payloads=True)
    assert page.records
