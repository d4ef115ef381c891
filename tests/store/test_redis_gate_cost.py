"""The cost of run limits, locks and turns in Redis, counted at the server. Tasks without them pay nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.store.support import METHOD, Harness, ManualClock, RecordingListener
from tests.support.redis_meter import RedisMeter
from tests.support.redis_server import RedisServer
from weft.coordinator.store.records import AttemptReport, Owner, Submission
from weft.coordinator.store.redis.encoding import record_of
from weft.coordinator.store.redis.redis_store import RedisOptions, RedisStore
from weft.coordinator.store.run_limits import MAX_PARKED, LockClaim, RunLimitRule
from weft.coordinator.store.state_store import StateWrite

PREFIX = "test"
BATCH = 64
Make = Callable[[int], Submission]


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as redis:
        yield redis


@pytest_asyncio.fixture
async def h(server: RedisServer) -> AsyncIterator[Harness]:
    clock, listener = ManualClock(), RecordingListener(followed=set())
    store = RedisStore(server.url, prefix=PREFIX, clock=clock, options=RedisOptions(poll_s=60.0))
    await store.open(listener)
    yield Harness(store, clock, listener)
    await store.close()


def _plain(number: int) -> Submission:
    return Submission(METHOD, number.to_bytes(8, "big"))


def _keyed(keys: int) -> Make:
    return lambda number: Submission(METHOD, number.to_bytes(8, "big"), fairness_key=f"key-{number % keys}")


async def _life(h: Harness, server: RedisServer, owner: Owner, make: Make) -> tuple[int, int, int]:
    """The commands of a batch that is submitted, claimed and ended by one script each."""
    counts = []
    meter = await RedisMeter.start(server)
    await h.submit_many([make(number) for number in range(BATCH)])
    counts.append((await meter.read()).calls)
    meter = await RedisMeter.start(server)
    claims = await h.claim(owner, BATCH)
    counts.append((await meter.read()).calls)
    assert len(claims) == BATCH
    meter = await RedisMeter.start(server)
    await h.store.complete(
        [
            AttemptReport(
                each.owner,
                each.task_id,
                each.attempt,
                0,
                b"outcome",
                state=None if each.state is None else StateWrite(each.state.version, b"state"),
            )
            for each in claims
        ]
    )
    counts.append((await meter.read()).calls)
    return counts[0], counts[1], counts[2]


def _within(counts: Sequence[int], most: Sequence[int]) -> None:
    assert all(count <= each for count, each in zip(counts, most, strict=True)), (counts, most)


async def test_each_batch_asks_for_so_much(h: Harness, server: RedisServer) -> None:
    owner = await h.agent(lease_s=1e6)
    # The scripts are loaded.
    await _life(h, server, owner, _plain)
    plain = await _life(h, server, owner, _plain)
    # Without gates and keys. Counts of tasks are written once a script.
    _within(plain, (4 * BATCH + 9, 5 * BATCH + 11, 5 * BATCH + 9))

    async def more(make: Make) -> list[int]:
        counts = await _life(h, server, owner, make)
        return [count - before for count, before in zip(counts, plain, strict=True)]

    # A turn is one read of its key and a share of one write; a claim does not ask for keys.
    _within(await more(_keyed(16)), [16 + 5, 4, 0])
    # A gate is read and written once a script, whatever the number of tasks.
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(2 * BATCH)})
    _within(await more(_plain), [1, 4, 4])
    await h.store.set_run_limits(METHOD, {"fairness_key": RunLimitRule(BATCH)})
    _within(await more(_keyed(16)), [16 + 6, 4 + 4 + 2 * 16, 2 * 16 + 4])
    # Limits of another method cost the look at which methods have any.
    await h.store.set_run_limits(METHOD, {})
    await h.store.set_run_limits("acme.v1.Other/Call", {"": RunLimitRule(1)})
    _within(await more(_plain), [1, 2, 0])
    await h.store.set_run_limits("acme.v1.Other/Call", {})
    await h.sweep()
    _within(await more(_plain), [0, 0, 0])
    # A lock has a list of its holders.
    locked = await more(lambda n: Submission(METHOD, locks=(LockClaim(f"lock{n}"),)))
    _within(locked, [0, 4 * BATCH, 4 * BATCH])
    # A state is counted at the submission, read with the claim, and read and written with the end; a new one is listed.
    for new in (1, 0):
        kept = await more(lambda n: Submission(METHOD, locks=(LockClaim(f"lock{n}", state=True),)))
        _within(kept, [BATCH, 5 * BATCH, (6 + new) * BATCH])


async def test_parking_is_bounded_and_paid_once(h: Harness, server: RedisServer) -> None:
    """A task at a shut gate is parked once, and returns when there is room: it is not looked at again and again."""
    owner = await h.agent(lease_s=1e6)
    await h.store.set_run_limits(METHOD, {"": RunLimitRule(1)})
    for _ in range(4):
        await h.submit_many([_plain(number) for number in range(150)])
    await h.claim_one(owner)
    meter = await RedisMeter.start(server)
    assert await h.claim(owner, 10) == []
    one = await meter.read()
    (depth,) = (await h.store.depths()).values()
    assert depth.limited <= 2 * MAX_PARKED
    assert one.calls <= 10 * MAX_PARKED
    while h.store.ready_depths():
        assert await h.claim(owner, 10) == []
    (depth,) = (await h.store.depths()).values()
    assert (depth.limited, depth.queued, depth.running) == (599, 599, 1)
    meter = await RedisMeter.start(server)
    for _ in range(100):
        assert await h.claim(owner, 10) == []
    idle = await meter.read()
    assert idle.commands["get"] <= 3 * 100, idle


async def test_a_plain_record_has_no_more_fields(h: Harness, server: RedisServer) -> None:
    await h.store.set_run_limits("acme.v1.Other/Call", {"": RunLimitRule(1)})
    owner = await h.agent(lease_s=1e6)
    task_id = await h.submit(_plain(0))
    async with Redis.from_url(server.url) as client:
        queued = record_of(await client.get(f"{{{PREFIX}}}:t:{task_id}"))
        claim = await h.claim_one(owner)
        running = record_of(await client.get(f"{{{PREFIX}}}:t:{task_id}"))
        await h.end(claim)
        ended = record_of(await client.get(f"{{{PREFIX}}}:t:{task_id}"))
    assert queued.keys() == {"q", "p", "c", "x", "a", "s", "bs"}
    assert running.keys() == queued.keys() | {"oa", "oe", "st"}
    assert ended.keys() == running.keys() | {"b", "fi", "ex", "o", "rp"}


async def _claim_usec(h: Harness, server: RedisServer, owner: Owner) -> tuple[float, float]:
    """Redis' own time and commands for a claimed task."""
    async with server.client() as client:
        before = (await client.info("commandstats"))["cmdstat_evalsha"]["usec"]
        meter = await RedisMeter.start(server)
        claims = await h.claim(owner, BATCH)
        calls = (await meter.read()).calls
        assert len(claims) == BATCH
        usec = (await client.info("commandstats"))["cmdstat_evalsha"]["usec"] - before
    return usec / BATCH, calls / BATCH


@pytest.mark.slow
async def test_a_claim_costs_the_same_with_a_thousand_keys(server: RedisServer) -> None:
    """Tasks queued over one key and over a thousand. WEFT_TEST_TASKS=1000000 for the figures of a million."""
    tasks = int(os.environ.get("WEFT_TEST_TASKS", "20000"))
    stores: dict[int, tuple[Harness, Owner]] = {}
    for keys in (1, 1000):
        clock, listener = ManualClock(), RecordingListener(followed=set())
        store = RedisStore(server.url, prefix=f"keys{keys}", clock=clock, options=RedisOptions(poll_s=60.0))
        await store.open(listener)
        h, make = Harness(store, clock, listener), _keyed(keys)
        stores[keys] = h, await h.agent(lease_s=1e6)
        async with server.client() as client:
            before = (await client.info("memory"))["used_memory"]
            for at in range(0, tasks, 500):
                await h.submit_many([make(at + number) for number in range(500)])
            used = (await client.info("memory"))["used_memory"] - before
        print(f"{keys} keys, {tasks} tasks: {used / tasks:.0f} B a task")
    # In turns, and of each the best: others use the processors too.
    rounds = [
        {keys: await _claim_usec(h, server, owner) for keys, (h, owner) in stores.items()} for _ in range(40)
    ]
    best = {keys: min(each[keys] for each in rounds) for keys in stores}
    print(f"usec and commands of a claimed task: {best}")
    assert best[1000][1] <= best[1][1] * 1.01
    assert best[1000][0] <= best[1][0] * 1.2
    for h, _ in stores.values():
        await h.store.close()
