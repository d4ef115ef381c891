"""Tests of the Redis store alone: memory, leftover keys, lost answers, forgotten scripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from google.rpc import code_pb2
from redis.asyncio import Redis
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from tests.store.support import METHOD, Harness, ManualClock, RecordingListener, error_of
from tests.support.fault_proxy import FaultProxy
from tests.support.logged import captured
from tests.support.redis_server import RedisServer
from tests.support.soak import soak
from weft.coordinator.store.open_errors import StoreError
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import Submission
from weft.coordinator.store.redis import redis_errors
from weft.coordinator.store.redis.encoding import pack, record_of
from weft.coordinator.store.redis.redis_keys import LAYOUT
from weft.coordinator.store.redis.redis_store import RedisOptions, RedisStore
from weft.coordinator.store.rules import REQUEST_ID_TTL_S, QueueKey, Requirements, State, TaskRetryPolicy
from weft.rpc.errors import DataLoss, Unavailable

PREFIX = "test"


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as redis:
        yield redis


async def _open(url: str, *, timeout_s: float = 5.0, poll_s: float = 0.05) -> Harness:
    clock, listener = ManualClock(), RecordingListener()
    store = RedisStore(
        url, prefix=PREFIX, clock=clock, options=RedisOptions(timeout_s=timeout_s, poll_s=poll_s)
    )
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


async def _calls(client: Redis) -> dict[str, int]:
    stats = await client.info("commandstats")
    return {name.removeprefix("cmdstat_"): stats[name]["calls"] for name in stats}


async def test_the_history_of_attempts_costs_a_task_without_trouble_nothing(
    h: Harness, server: RedisServer
) -> None:
    """And one that fails a SET each time."""
    policy = TaskRetryPolicy(max_attempts=9, initial_backoff_s=0.0)
    owner = await h.agent(lease_s=1e9)
    costs = []
    async with server.client() as client:
        _, bad = await h.submit_many([Submission(METHOD, retry=policy)] * 2)
        for code in (code_pb2.OK, code_pb2.UNAVAILABLE, code_pb2.UNAVAILABLE):
            claimed = await h.claim_one(owner)
            before = await _calls(client)
            await h.end(claimed, code)
            after = await _calls(client)
            costs.append(after["set"] - before["set"])
        names = await _names(client)
    # The outcome and the record; the pair of them again and the history.
    assert costs == [2, 3, 3]
    assert [name for name in names if ":h:" in name] == [f"{{{PREFIX}}}:h:{bad}"]


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
        assert set(left) - set(before) <= {f"{{{PREFIX}}}:{name}" for name in ("last", "unfinished", "moves")}
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


async def _polls(h: Harness, server: RedisServer, count: int = 3) -> None:
    """Wait until a store has looked around so many times."""
    async with server.client() as client, asyncio.timeout(10):
        for _ in range(count):
            await client.delete(f"{{{PREFIX}}}:live")
            while not await client.exists(f"{{{PREFIX}}}:live"):
                await asyncio.sleep(0.01)


def _events(logs: Sequence[Mapping[str, object]]) -> list[tuple[object, object]]:
    """What the store said of its Redis."""
    return [(log["event"], log.get("operation")) for log in logs if str(log["event"]).startswith("store.")]


async def test_a_key_of_another_type_in_the_way(h: Harness, server: RedisServer) -> None:
    """What needs it is refused and says why; everything else goes on."""
    owner = await h.agent()
    async with server.client() as client:
        await client.set(f"{{{PREFIX}}}:timers", "a shopping list")
        with captured() as logs:
            for _ in range(5):
                with pytest.raises(Unavailable, match=r"refuses: .*WRONGTYPE") as refused:
                    await h.sweep()
                assert "shopping" not in refused.value.message
                await h.submit()
                await h.end(await h.claim_one(owner))
                assert h.store.writable
            await _polls(h, server)
            assert _events(logs) == [("store.refused", "sweep")]
            await client.delete(f"{{{PREFIX}}}:timers")
            await h.sweep()
            await h.sweep()
        assert _events(logs) == [("store.refused", "sweep"), ("store.accepted", "sweep")]


@pytest.mark.parametrize("name", ["coordinators", "live", "moved", "paused"])
async def test_a_key_of_another_type_at_the_start(server: RedisServer, name: str) -> None:
    async with server.client() as client:
        await client.lpush(f"{{{PREFIX}}}:{name}", "in the way")
    with pytest.raises(StoreError, match=rf"cannot use .*{server.address}.*WRONGTYPE"):
        await _open(server.url)


async def test_what_is_refused_for_long_is_said_again(
    h: Harness, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_errors, "REPEAT_S", 0.2)
    key = f"{{{PREFIX}}}:moved"
    async with server.client() as client:
        with captured() as logs:
            await client.set(key, "in the way")
            async with asyncio.timeout(10):
                while len(logs) < 3:
                    await asyncio.sleep(0.01)
            await client.delete(key)
            async with asyncio.timeout(10):
                while logs[-1]["event"] != "store.accepted":
                    await asyncio.sleep(0.01)
        assert {event for event, _ in _events(logs)} == {"store.refused", "store.accepted"}
        assert {what for _, what in _events(logs)} == {"look"}


async def test_a_redis_that_takes_no_writes(h: Harness, server: RedisServer) -> None:
    """It answers what is read: that does not make it well."""
    task_id = await h.submit()
    async with server.client() as client:
        with captured() as logs:
            await client.config_set("maxmemory", 1)
            async with asyncio.timeout(10):
                while h.store.writable:
                    await asyncio.sleep(0.01)
            for _ in range(5):
                assert await h.state(task_id) is State.QUEUED
                with pytest.raises(Unavailable, match="cannot be reached"):
                    await h.submit()
                assert not h.store.writable
            await client.config_set("maxmemory", 0)
            async with asyncio.timeout(10):
                while not h.store.writable:
                    await asyncio.sleep(0.01)
            await h.submit()
        assert [event for event, _ in _events(logs)] == ["store.unavailable", "store.available"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ResponseError("WRONGTYPE Operation against a key"), "WRONGTYPE Operation against a key"),
        (NoPermissionError("no 'evalsha'", status_code="NOPERM"), "NOPERM no 'evalsha'"),
        (
            ResponseError("ERR unknown command 'FOO', with args beginning with: 'secret'"),
            "ERR unknown command 'FOO'",
        ),
        (
            ResponseError("ERR user_script:7: a nil value script: 1f, on @user_script:7."),
            "ERR user_script:7: a nil value script: 1f, on @user_script:7.",
        ),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), ""),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), ""),
        (ResponseError("BUSY Redis is busy running a script."), ""),
        (
            ResponseError("ERR Error running script (call to f_1): @user_script:5: -OOM command not allowed"),
            "",
        ),
        (ResponseError("ERR Script attempted to access a non local key in a cluster node"), ""),
        (ReadOnlyError("You can't write against a read only replica.", status_code="READONLY"), ""),
        (ClusterDownError("The cluster is down", status_code="CLUSTERDOWN"), ""),
        (BusyLoadingError("Redis is loading the dataset in memory"), ""),
        (RedisError("0 of 1 replicas have the change"), ""),
        (TimeoutError(), ""),
    ],
)
def test_refusals_are_told_from_being_away(error: Exception, said: str) -> None:
    assert redis_errors.refusal(error) == said


@pytest.mark.slow
async def test_a_redis_that_answers_slowly(server: RedisServer) -> None:
    """Everything works, and takes its time."""
    async with FaultProxy(server.address) as proxy:
        h = await _open(f"redis://{proxy.address}/0")
        owner = await h.agent(lease_s=1e6)
        with captured() as logs:
            await proxy.slow(1.0, "down")
            async with asyncio.timeout(30):
                ids = await asyncio.gather(*(h.submit() for _ in range(50)))
                claimed = await h.claim(owner, limit=50)
                await asyncio.gather(*map(h.end, claimed))
                records = await h.store.get(ids)
                await h.sweep()
        assert [record.state for record in records if record is not None] == [State.SUCCEEDED] * 50
        assert h.store.writable
        assert _events(logs) == []
        await proxy.heal()
        await h.store.close()


async def test_a_task_that_is_gone_is_told_as_lost(h: Harness, server: RedisServer) -> None:
    """Those who wait for it would wait for ever; those whose tasks are there do so still."""
    listener = h.listener
    assert isinstance(listener, RecordingListener)
    here, gone = await h.submit_many([Submission(METHOD)] * 2)
    listener.followed = {here, gone}
    listener.changes.clear()
    async with server.client() as client:
        await client.delete(f"{{{PREFIX}}}:t:{gone}")
        await _polls(h, server)
        async with asyncio.timeout(10):
            while State.FAILED not in listener.states(gone):
                await asyncio.sleep(0.01)
    (told,) = [record for record in listener.changes if record.task_id == gone]
    assert isinstance(error_of(told), DataLoss)
    assert set(listener.states(here)) == {State.QUEUED}


@soak
@pytest.mark.slow
async def test_a_task_that_is_on_its_way_is_not_lost(h: Harness, server: RedisServer) -> None:
    """Also when its followers are looked at again all the time, and Redis takes its time."""
    listener = h.listener
    assert isinstance(listener, RecordingListener)
    listener.followed = set()
    enough = asyncio.Event()

    async def submit() -> None:
        while not enough.is_set():
            given = Submission(METHOD, task_id=h.store.new_task_id(METHOD))
            listener.followed.add(given.task_id)  # type: ignore[union-attr]
            await h.store.enqueue([given], acknowledged=False)
            await asyncio.sleep(0.002)

    load = asyncio.create_task(submit())
    await _polls(h, server, 10)
    server.pause()
    await asyncio.sleep(2.0)
    server.resume()
    await _polls(h, server, 30)
    enough.set()
    await load
    ids = sorted(listener.followed)
    records = await h.store.get(ids)
    assert [record.state for record in records if record is not None] == [State.QUEUED] * len(ids)
    assert [record for record in listener.changes if record.state is State.FAILED] == []


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


@pytest.mark.parametrize("layout", [1, 2])
async def test_a_store_of_an_earlier_layout_is_taken_over(
    h: Harness, server: RedisServer, layout: int
) -> None:
    """Later layouts have more beside the tasks and in them: without that, nobody would look for waiting tasks."""
    policy = TaskRetryPolicy(9, 0.5, 1.0, 2.0, frozenset({3, 14}), 1)
    needing = Submission(
        METHOD, b"needing", requirements=Requirements.of({"zone": "eu"}, {}), retry=policy, result_ttl_s=7.5
    )
    owner = await h.agent("known", lease_s=1e9)
    streaming = await h.submit(Submission(METHOD, b"streaming"))
    attempt = await h.claim_one(owner)
    await h.stream(attempt, 1, b"row")
    ids = [streaming, *await h.submit_many([Submission(METHOD, b"plain"), needing])]
    await h.store.close()
    async with Redis.from_url(server.url) as client:
        name = f"{{{PREFIX}}}"
        if layout == 1:
            await client.delete(
                *(f"{name}:{each}" for each in ("moved", "moves", "sets", "widths", "changes"))
            )
            await client.delete(f"{name}:s:{streaming}")
        await client.set(f"{name}:layout", layout)
        for task_id in ids:
            raw = await client.get(f"{name}:t:{task_id}")
            assert isinstance(raw, bytes)
            record = record_of(raw)
            later = {"bs", "nb", "x"} if layout == 1 else {"x"}
            earlier = {each: record[each] for each in record.keys() - later}
            if task_id == ids[-1]:
                # What was the default was left out.
                earlier["x"] = '{"result_ttl_s":7.5,"retry":[9,0.5,1,2,[3,14],1]}'
            await client.set(f"{name}:t:{task_id}", pack({**earlier, "at": record["c"]}))
    again = await _open(server.url)
    try:
        assert again.store.ready_depths() == dict.fromkeys(
            [QueueKey(METHOD), QueueKey(METHOD, needing.requirements)], 1
        )
        assert list(await again.store.agents()) == ["known"]
        page = await again.store.list_tasks(ListFilter(), limit=10, payloads=True)
        assert [record.submission.payload for record in page.records] == [b"needing", b"plain", b"streaming"]
        submissions = [record.submission for record in page.records]
        assert [each.retry for each in submissions] == [policy, TaskRetryPolicy(), TaskRetryPolicy()]
        assert [each.result_ttl_s for each in submissions] == [7.5, 3600.0, 3600.0]
        assert [row.payload for row in await again.store.read_progress(streaming, 0, 9)] == [b"row"]
        await again.end(attempt)
        for requirements in (Requirements(), needing.requirements):
            await again.end((await again.claim(owner, requirements=requirements))[0])
        assert await again.store.depths() == {}
        async with Redis.from_url(server.url) as client:
            assert await client.get(f"{name}:layout") == str(LAYOUT).encode()
            assert await client.hgetall(f"{name}:widths") == {}
    finally:
        await again.store.close()


async def test_a_renewal_for_nobody_asks_for_no_sweep(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator without agents makes one four times a heartbeat, to know whether Redis is there."""
    due: list[float] = []
    monkeypatch.setattr(h.listener, "due", due.append)
    await h.store.renew([], 0.0)
    assert due == []
    owner = await h.agent(lease_s=5.0)
    await h.store.renew([owner], 9.0)
    assert due == [h.clock() + 5.0, h.clock() + 9.0]
