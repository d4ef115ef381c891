"""Remembered calls in Redis: what it costs to cancel them with their caller, counted at the server, and that any coordinator goes on."""

from __future__ import annotations

from pathlib import Path

from tests.store.support import METHOD, OTHER_METHOD, Harness, ManualClock, RecordingListener
from tests.support.redis_meter import RedisMeter, Used
from tests.support.redis_server import RedisServer
from weft.coordinator.store.records import Submission
from weft.coordinator.store.redis.redis_store import RedisOptions, RedisStore
from weft.coordinator.store.remembered import MOST_CALLS, request_id_of
from weft.coordinator.store.rules import State


async def opened(server: RedisServer, clock: ManualClock) -> Harness:
    store = RedisStore(server.url, prefix="test", clock=clock, options=RedisOptions(poll_s=60.0))
    listener = RecordingListener(followed=set())
    await store.open(listener)
    return Harness(store, clock, listener)


async def caller_of(h: Harness, count: int) -> tuple[str, list[str]]:
    parent = await h.submit(Submission(METHOD, delay_s=60.0))
    calls = [
        Submission(OTHER_METHOD, request_id=request_id_of(parent, f"call-{at}"), delay_s=60.0)
        for at in range(count)
    ]
    return parent, await h.submit_many(calls)


async def cost_of_cancel(h: Harness, server: RedisServer, task_id: str) -> Used:
    meter = await RedisMeter.start(server)
    await h.cancel(task_id)
    await h.pass_time(0.0)
    return await meter.read()


async def test_what_the_calls_of_a_cancelled_task_cost(tmp_path: Path) -> None:
    async with RedisServer(tmp_path) as server:
        clock = ManualClock()
        here, there = await opened(server, clock), await opened(server, clock)
        client = server.client()
        try:
            plain = await cost_of_cancel(here, server, (await caller_of(here, 0))[0])
            # Tasks that others have made meanwhile cost nothing: they are not read.
            await here.submit_many([Submission(METHOD, delay_s=60.0)] * 2000)
            again = await cost_of_cancel(here, server, (await caller_of(here, 0))[0])
            assert again.calls <= plain.calls, (again, plain)
            count = 2 * MOST_CALLS
            parent, _ = await caller_of(here, count)
            used = await cost_of_cancel(here, server, parent)
            # One end each, by as many commands as a cancelled task without a caller takes, and two for the caller.
            assert used.calls - plain.calls < 14 * count, used
            assert used.commands["mget"] < 20, used
            # A coordinator that is gone before it has swept: any other one goes on.
            parent, calls = await caller_of(here, count)
            await here.cancel(parent)
            assert {each.state for each in await there.store.get(calls[-9:]) if each} == {State.SCHEDULED}
            await there.pass_time(0.0)
            assert {each.state for each in await there.store.get(calls) if each} == {State.CANCELLED}
            left = ("cancelling", "cancels", f"calls:{parent}")
            assert not await client.exists(*(f"{{test}}:{key}" for key in left))
        finally:
            await client.aclose()
            await here.store.close()
            await there.store.close()
