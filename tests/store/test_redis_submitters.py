"""Counts of submitters' tasks in Redis: what they cost, counted at the server, and that all coordinators share them."""

from __future__ import annotations

from pathlib import Path

from tests.store.support import METHOD, Harness, ManualClock, RecordingListener
from tests.support.redis_meter import RedisMeter, Used
from tests.support.redis_server import RedisServer
from weft.coordinator.store.records import Enqueued, Submission, TooManyTasks
from weft.coordinator.store.redis.redis_store import RedisOptions, RedisStore

COUNT = 32


async def opened(server: RedisServer, clock: ManualClock) -> Harness:
    listener = RecordingListener()
    store = RedisStore(server.url, prefix="test", clock=clock, options=RedisOptions(poll_s=60.0))
    await store.open(listener)
    return Harness(store, clock, listener)


async def life(h: Harness, server: RedisServer, *submissions: Submission) -> Used:
    """What it costs to store, claim and end tasks."""
    owner = await h.agent(lease_s=1e6)
    meter = await RedisMeter.start(server)
    await h.submit_many(submissions)
    for claimed in await h.claim_all(owner):
        await h.end(claimed)
    return await meter.read()


async def test_what_counting_costs_and_who_shares_it(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server:
        clock = ManualClock()
        here, there = await opened(server, clock), await opened(server, clock)
        try:
            plain = await life(here, server, *[Submission(METHOD, b"p")] * COUNT)
            counted = Submission(METHOD, b"p", submitter="token:a", most_unfinished=COUNT)
            used = await life(here, server, *[counted] * COUNT)
            # A look for each task, and a change of the count for each script: one that stores, and one for each end; the last one
            # forgets the count.
            names = ("hget", "hincrby", "hdel")
            more = {name: used.commands[name] - plain.commands[name] for name in names}
            assert more == {"hget": COUNT, "hincrby": 1 + COUNT, "hdel": 1}, more
            assert not plain.commands["hget"]
            # Nothing is left when all have ended.
            client = server.client()
            assert not await client.exists("{test}:submitted")
            await client.aclose()
            # One count for all coordinators, exact at once.
            results = [
                *await here.store.enqueue([counted] * (COUNT - 1)),
                *await there.store.enqueue([counted] * 2),
            ]
            assert [isinstance(each, Enqueued) for each in results] == [True] * COUNT + [False]
            assert results[-1] == TooManyTasks("token:a", COUNT)
            assert await here.store.enqueue([counted]) == [results[-1]]
        finally:
            await here.store.close()
            await there.store.close()
