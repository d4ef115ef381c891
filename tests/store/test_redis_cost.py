"""The coordinators' requests to Redis, counted at the server: bytes and commands, never times."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio

from tests.store.support import METHOD, Harness, ManualClock, RecordingListener
from tests.support.lightweight import ECHO, LightAgent, agents_apart
from tests.support.mesh import MeshHarness
from tests.support.redis_meter import RedisMeter, Used
from tests.support.redis_server import RedisServer
from weft.client import connect
from weft.client.generated_ids import REPEATED_S
from weft.coordinator.calls.following import follow
from weft.coordinator.calls.task_subscriptions import TaskSubscriptions
from weft.coordinator.server import Coordinator
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.event_store import NewEventRow
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import (
    AgentRecord,
    Owner,
    ProgressItem,
    ProgressRow,
    Submission,
    TaskRecord,
)
from weft.coordinator.store.redis.redis_activity import RESTS_AFTER_S
from weft.coordinator.store.redis.redis_store import RedisOptions, RedisStore
from weft.coordinator.store.rules import QueueKey, Requirements, State
from weft.coordinator.store.table_store import RowPut
from weft.rpc.network.channel import BATCH_BYTES, MAX_PAYLOAD_BYTES
from weft.v1 import coordinator_pb2, event_pb2, fleet_pb2, namespace_pb2, schedule_pb2
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub
from weft.v1.namespace_pb2_grpc import NamespaceServiceStub

PREFIX = "test"
IDLE_BYTES = 20_000
# Those inside scripts included.
IDLE_COMMANDS = 200
# Of one namespace without work.
RESTING_COMMANDS = 25


class HubListener(RecordingListener):
    """A coordinator's own register of followers."""

    def __init__(self) -> None:
        super().__init__(followed=set())
        self.subscriptions = TaskSubscriptions(100)

    def has_subscriber(self, task_id: str, *, ended: bool) -> bool:
        return self.subscriptions.has_subscriber(task_id, ended=ended)

    def subscribed_tasks(self) -> Sequence[str]:
        return self.subscriptions.subscribed()

    def changed(self, record: TaskRecord) -> None:
        self.subscriptions.changed(record)

    def progressed(self, task_id: str, rows: Sequence[ProgressRow]) -> None:
        self.subscriptions.progressed(task_id, rows)


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path) as redis:
        yield redis


async def _open(server: RedisServer, *, poll_s: float = 60.0, clock: ManualClock | None = None) -> Harness:
    """A store as one coordinator has it. It polls seldom, so that what is asked for can be counted."""
    clock, listener = clock or ManualClock(), HubListener()
    store = RedisStore(server.url, prefix=PREFIX, clock=clock, options=RedisOptions(poll_s=poll_s))
    await store.open(listener)
    return Harness(store, clock, listener)


@pytest_asyncio.fixture
async def here(server: RedisServer) -> AsyncIterator[Harness]:
    harness = await _open(server)
    yield harness
    await harness.store.close()


@pytest_asyncio.fixture
async def there(server: RedisServer, here: Harness) -> AsyncIterator[Harness]:
    harness = await _open(server, clock=here.clock)
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
        async for item in follow(there.store, listener.subscriptions, task_id, 0):
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


async def _fleet(h: Harness, count: int) -> list[Owner]:
    """Agents that another coordinator serves, as it shows them."""
    described = fleet_pb2.Agent(
        methods=[fleet_pb2.HostedMethod(name=METHOD)], slots=4, state=fleet_pb2.AGENT_STATE_ACTIVE
    ).SerializeToString()
    owners = [
        Owner(f"a{n}", await h.store.register(f"a{n}", "instance", described, 1e6)) for n in range(count)
    ]
    views = {owner.agent_id: (owner.epoch, described) for owner in owners}
    await h.store.share(views, dict.fromkeys(views, described))
    return owners


async def _per_second(server: RedisServer, seconds: float) -> tuple[float, float, Used]:
    """Bytes that Redis sends a second, and commands that it runs."""
    meter = await RedisMeter.start(server)
    began_s = time.monotonic()
    await asyncio.sleep(seconds)
    used = await meter.read()
    took_s = time.monotonic() - began_s
    return used.sent_bytes / took_s, used.calls / took_s, used


async def test_an_idle_coordinator_reads_little(server: RedisServer) -> None:
    """With a hundred contracts, a thousand agents elsewhere, and queues that wait for nobody here."""
    other = await _open(server, clock=ManualClock(time.time()))
    await _fleet(other, 1000)
    for n in range(100):
        await other.store.put_contract(f"{n:064x}", bytes(50_000), [f"acme.v1.S{n}/Call"])
    requirements = [Requirements.of({"zone": f"z{n}"}, {}) for n in range(300)]
    await other.submit_many([Submission(METHOD, requirements=each) for each in requirements])
    # And schedules whose next ticks are far.
    far_at = other.store.now() + 1e6
    row = schedule_pb2.Schedule(spec=schedule_pb2.ScheduleSpec(method=METHOD, payload=bytes(900)))
    await other.store.put_rows(
        [RowPut("schedule", f"s{n}", row.SerializeToString(), due_at=far_at + n) for n in range(500)]
    )
    # And events that nobody reads, of topics with subscriptions that are paused.
    await other.store.append_events([NewEventRow(f"acme.v1.T{n}", b"body") for n in range(200)])
    paused = event_pb2.Subscription(paused=True, spec=event_pb2.SubscriptionSpec(topic="acme.v1.T1"))
    await other.store.put_rows(
        [RowPut("subscription", f"s{n}", paused.SerializeToString()) for n in range(100)]
    )
    settings = CoordinatorSettings(listen="127.0.0.1:0", store=server.url, store_prefix=PREFIX)
    coordinator = Coordinator(settings)
    await coordinator.start()
    try:
        queue = QueueKey(METHOD, requirements[0])
        async with asyncio.timeout(20):
            # It has seen all of it; the first round of housekeeping reads each schedule once.
            while (
                coordinator.default._register.serving(QueueKey(METHOD)) < 1000
                or not coordinator.default._store.ready_depths()
                or not coordinator.default._sweeper._rested_at_s
            ):
                await asyncio.sleep(0.05)
        assert coordinator.default._store.ready_depths()[queue] == 1
        sent_bytes, calls, used = await _per_second(server, 4.0)
        print(f"{sent_bytes:.0f} B and {calls:.0f} commands a second: {used.commands.most_common(12)}")
        assert sent_bytes < IDLE_BYTES, used
        assert calls < IDLE_COMMANDS, used
        assert used.commands["hgetall"] == used.commands["lrange"] == used.commands["hget"] == 0, used
        assert used.commands["xrange"] == used.commands["hmget"] == used.commands["xtrim"] == 0, used
    finally:
        await coordinator.stop(0.1)
        await other.store.close()


@pytest.mark.slow
async def test_an_idle_namespace_costs_next_to_nothing(server: RedisServer) -> None:
    """No agents, no unfinished tasks, no callers: also of the default namespace."""
    settings = CoordinatorSettings(listen="127.0.0.1:0", store=server.url, store_prefix=PREFIX)
    coordinator = Coordinator(settings)
    await coordinator.start()
    try:
        async with grpc.aio.insecure_channel(coordinator.address) as channel:
            names, api = NamespaceServiceStub(channel), CoordinatorServiceStub(channel)
            await names.CreateNamespace(namespace_pb2.CreateNamespaceRequest(name="team-a"))
            await api.ListAgents(
                coordinator_pb2.ListAgentsRequest(), metadata=(("weft-namespace", "team-a"),)
            )
        await asyncio.sleep(RESTS_AFTER_S + 1.0)
        sent_bytes, calls, used = await _per_second(server, 6.0)
        print(f"{sent_bytes:.0f} B and {calls:.0f} commands a second: {used.commands.most_common(12)}")
        assert calls < 2 * RESTING_COMMANDS, used
    finally:
        await coordinator.stop(0.1)


@pytest.mark.slow
async def test_an_idle_coordinator_of_a_thousand_agents_reads_little(
    server: RedisServer, tmp_path: Path
) -> None:
    async with MeshHarness(tmp_path) as mesh:
        mesh.store = server.url
        await mesh.coordinator()
        async with agents_apart(mesh.target, "idle-", 1000, log=tmp_path / "agents.log"):
            # Past what they bring along: on a busy machine some come late, or dial again.
            await asyncio.sleep(3.0)
            for _ in range(5):
                sent_bytes, calls, used = await _per_second(server, 10.0)
                if sent_bytes < IDLE_BYTES:
                    break
    print(f"{sent_bytes:.0f} B and {calls:.0f} commands a second: {used.commands.most_common(12)}")
    assert sent_bytes < IDLE_BYTES, used


async def test_agents_that_reconnect_read_each_agent_once(
    here: Harness, there: Harness, server: RedisServer
) -> None:
    """Each Hello looks its agent up, and another coordinator hears of each."""
    spent = []
    for count in (100, 400):
        await _fleet(here, count)
        await there.store.agent_news()
        meter = await RedisMeter.start(server)
        for n in range(count):
            await here.store.register(f"a{n}", "instance", bytes(300), 1e6)
            assert f"a{n}" in await here.store.agents()
            await there.store.agent_news()
        used = await meter.read()
        spent.append(used.sent_bytes / count)
    assert spent[1] < 1.5 * spent[0], spent


async def test_what_is_read_of_agents_is_what_there_is(
    here: Harness, there: Harness, server: RedisServer
) -> None:
    """Whatever happens to agents, another coordinator has them as they are, and hears which have changed."""
    rng = random.Random(11)
    owners: dict[str, Owner] = {}
    seen: dict[str, AgentRecord] = {}
    for _ in range(300):
        agent_id = f"a{rng.randrange(12)}"
        owner = owners.get(agent_id)
        act = rng.randrange(7)
        if owner is None or act == 0:
            owners[agent_id] = await here.agent(agent_id, lease_s=1e6)
        elif act == 1:
            await here.store.detach(owner, rng.choice([0.0, 1e6]))
        elif act == 2:
            await here.store.retire(owner)
        elif act == 3:
            await here.store.set_desired(agent_id, rng.randrange(1, 4))
        elif act == 4:
            await here.store.forget_agent(agent_id)
        elif act == 5:
            await here.store.share({agent_id: (owner.epoch, rng.randbytes(8))}, {agent_id: b"load"})
        else:
            here.clock.advance(1.0)
            await here.sweep()
        if rng.random() < 0.3:
            for changed, record in (await there.store.agent_news()).items():
                seen.pop(changed, None)
                if record is not None:
                    seen[changed] = record
            assert seen == await there.store.agents() == await here.store.agents()
            fresh = await _open(server, clock=here.clock)
            assert await fresh.store.agents() == seen
            await fresh.store.close()


async def test_an_agent_that_was_forgotten_long_ago_is_not_kept(
    here: Harness, there: Harness, server: RedisServer
) -> None:
    """That it is gone is remembered for so long; after that everything is read again."""
    kept, gone = await here.agent("kept", lease_s=1e6), await here.agent("gone", lease_s=1e6)
    assert set(await there.store.agents()) == {"kept", "gone"}
    await here.store.retire(gone)
    await here.store.forget_agent("gone")
    async with server.client() as client:
        newest = int(await client.get(f"{{{PREFIX}}}:fleet"))
        await client.zrem(f"{{{PREFIX}}}:changes", "gone")
        await client.set(f"{{{PREFIX}}}:floor", newest)
    await here.store.set_desired(kept.agent_id, 2)
    assert set(await there.store.agents()) == {"kept"}
    assert set(await there.store.agent_news()) == {"kept", "gone"}


async def test_a_long_queue_is_told_by_priority(server: RedisServer) -> None:
    here, there = await _open(server, poll_s=0.02), await _open(server, poll_s=0.02)
    key = QueueKey(METHOD)
    await here.submit_many([Submission(METHOD, priority=at % 3) for at in range(90)])
    async with asyncio.timeout(10):
        for priority, count in ((2, 30), (1, 60), (0, 90), (9, 0)):
            while [each.store.ready_ahead(key, priority) for each in (here, there)] != [count] * 2:
                await asyncio.sleep(0.01)
    # It is short again.
    owner = await here.agent(lease_s=1e6)
    while here.store.ready_depths():
        await here.claim(owner, limit=100)
    assert here.store.ready_ahead(key, 0) == 0
    await here.submit_many([Submission(METHOD)])
    assert here.store.ready_ahead(key, 0) == 1
    await there.store.close()
    await here.store.close()


async def test_what_waits_in_queues_is_not_read_again(server: RedisServer) -> None:
    """However many queues there are: a poll reads those that have changed."""
    h = await _open(server, poll_s=0.02)
    requirements = [Requirements.of({"zone": f"z{n}"}, {}) for n in range(500)]
    await h.submit_many([Submission(METHOD, requirements=each) for each in requirements])
    other = await _open(server, poll_s=0.02)
    assert len(other.store.ready_depths()) == 500
    meter = await RedisMeter.start(server)
    client = server.client()
    for _ in range(20):
        # A poll of each.
        await client.delete(f"{{{PREFIX}}}:live")
        while await client.zcard(f"{{{PREFIX}}}:live") < 2:
            await asyncio.sleep(0.01)
    await client.aclose()
    used = await meter.read()
    assert used.commands["zrangebyscore"] >= 40, used
    assert used.commands["zcard"] < 200 + 2 * 500, used
    # And a queue that another coordinator emptied is not asked for again and again.
    owner = await h.agent(lease_s=1e6)
    assert len(await h.claim(owner, requirements=requirements[7])) == 1
    async with asyncio.timeout(10):
        while len(other.store.ready_depths()) != 499:
            await asyncio.sleep(0.01)
    await other.store.close()
    await h.store.close()


async def test_what_the_library_submits_leaves_nothing_behind(server: RedisServer) -> None:
    """After its time and the minutes in which a submission may be repeated: an id of the caller's own stays for a day."""
    clock = ManualClock()
    settings = CoordinatorSettings(listen="127.0.0.1:0", store=server.url, result_ttl_s=10.0)
    coordinator = Coordinator(settings, RedisStore(server.url, prefix=PREFIX, clock=clock))
    await coordinator.start()
    try:
        async with (
            grpc.aio.insecure_channel(coordinator.address) as channel,
            LightAgent(channel, "a1", slots=8),
            connect(coordinator.address) as mesh,
            server.client() as client,
        ):
            async with asyncio.timeout(20):
                while not coordinator.default._register.serving(QueueKey(ECHO)):
                    await asyncio.sleep(0.01)
            handle = await mesh.tasks.submit(ECHO, b"", result_ttl_s=20.0)
            await handle.result(timeout_s=10)
            assert [done.succeeded async for done in mesh.tasks.run_many(ECHO, [b""] * 20)] == [True] * 20
            own = await mesh.tasks.submit(ECHO, b"", request_id="own")
            await own.result(timeout_s=10)

            async def kept() -> set[str]:
                kinds = [f"{{{PREFIX}}}:{kind}:*" for kind in ("t", "b", "o", "q", "h", "s", "p")]
                return {name for kind in kinds for name in await client.keys(kind)}

            assert len(await kept()) >= 3 * 22
            clock.advance(2 * REPEATED_S)
            async with asyncio.timeout(20):
                while len(left := await kept()) > 2:
                    await asyncio.sleep(0.05)
            assert left == {f"{{{PREFIX}}}:t:{own.id}", f"{{{PREFIX}}}:q:own"}
    finally:
        await coordinator.stop(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedded", "redis"])
async def test_contracts_that_nobody_needs_are_forgotten_by_coordinators(
    server: RedisServer, tmp_path: Path, kind: str
) -> None:
    """Those of agents that left, at each coordinator; their methods are unknown then, and come again with an agent."""
    store = server.url if kind == "redis" else str(tmp_path / "weft.db")
    settings = CoordinatorSettings(listen="127.0.0.1:0", store=store, forget_contracts_s=1.0)
    coordinators = [Coordinator(settings) for _ in range(2 if kind == "redis" else 1)]
    for each in coordinators:
        await each.start()
    try:
        async with grpc.aio.insecure_channel(coordinators[0].address) as channel:
            for _ in range(2):
                async with LightAgent(channel, "a1") as agent:
                    assert agent.welcome.contract_needed
                    async with asyncio.timeout(20):
                        while not all(each.default._contracts.find(ECHO) for each in coordinators):
                            await asyncio.sleep(0.01)
                    # While it is here it stays.
                    await asyncio.sleep(1.5)
                    assert all(each.default._contracts.find(ECHO) for each in coordinators)
                async with asyncio.timeout(20):
                    while any(each.default._contracts.find(ECHO) for each in coordinators):
                        await asyncio.sleep(0.01)
                assert await coordinators[0].default._store.contracts() == {}
    finally:
        for each in coordinators:
            await each.stop(0.1)
