"""Two coordinators on one Redis: each answers for every task, and takes over if the other is lost."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support import tasks
from tests.support.fault_proxy import FaultProxy
from tests.support.lightweight import ECHO, LightAgent
from tests.support.mesh import MeshHarness
from tests.support.processes import Process, until
from tests.support.redis_server import RedisServer
from weft.rpc.errors import Unavailable, error_info, retry_after_s, status_of_call
from weft.v1 import coordinator_pb2, fleet_pb2, task_pb2

_GRPC = grpc.aio


@pytest_asyncio.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest_asyncio.fixture
async def pair(
    tmp_path: Path, mesh: MeshHarness, redis: RedisServer
) -> AsyncIterator[tuple[MeshHarness, MeshHarness]]:
    """Two harnesses, each with a coordinator on the same Redis."""
    folder = tmp_path / "other"
    folder.mkdir()
    async with MeshHarness(folder) as other:
        mesh.store = other.store = redis.url
        await asyncio.gather(mesh.coordinator(), other.coordinator())
        yield mesh, other


async def test_any_coordinator_answers_for_any_task(pair: tuple[MeshHarness, MeshHarness]) -> None:
    here, there = pair
    await here.agent("a1", slots=4)
    # Its contract and its health travel, and the fleet is the same from both.
    await there.wait_serving()
    await there.wait_agent("a1")
    queues = (await there.api().ListQueues(coordinator_pb2.ListQueuesRequest(), timeout=5)).queues
    assert {queue.method: queue.agents for queue in queues}[tasks.method("Call")] == 1
    answer = await there.probe().Call(ProbeRequest(text="through the other"), timeout=10)
    assert (answer.text, answer.agent_id) == ("through the other", "a1")
    assert [
        item.text async for item in there.probe().Stream(ProbeRequest(text="s", stream_count=3), timeout=10)
    ]

    # Read, waited for, watched and cancelled where it does not run.
    ledger = here.ledger()
    task_id = await tasks.submit(here, ProbeRequest(text="long", sleep_s=60, ledger=ledger.path))
    await ledger.until("start", "long")
    assert (await tasks.look(there, task_id)).state == task_pb2.TASK_STATE_RUNNING
    watch = there.api().WatchTask(coordinator_pb2.WatchTaskRequest(task_id=task_id), timeout=20)
    events = aiter(watch)
    waiting = asyncio.create_task(tasks.end(there, task_id))
    first = await anext(events)
    assert first.task.state == task_pb2.TASK_STATE_RUNNING
    cancelled_at = time.monotonic()
    await there.api().CancelTask(coordinator_pb2.CancelTaskRequest(task_id=task_id), timeout=5)
    task = await waiting
    assert task.state == task_pb2.TASK_STATE_CANCELLED
    assert time.monotonic() - cancelled_at < 2.0
    states = [response.task.state async for response in events if response.HasField("task")]
    assert states[-1] == task_pb2.TASK_STATE_CANCELLED


async def test_a_wish_reaches_an_agent_elsewhere(pair: tuple[MeshHarness, MeshHarness]) -> None:
    here, there = pair
    await here.agent("a1")
    await there.wait_agent("a1")
    request = coordinator_pb2.UpdateAgentRequest(agent_id="a1", desired_state=fleet_pb2.DESIRED_STATE_PAUSED)
    await there.api().UpdateAgent(request, timeout=5)
    for mesh in pair:
        await mesh.wait_agent("a1", fleet_pb2.AGENT_STATE_PAUSED)


async def test_a_request_id_is_one_task_at_both(pair: tuple[MeshHarness, MeshHarness]) -> None:
    here, there = pair
    await here.agent("a1")
    await there.wait_serving()
    request = ProbeRequest(text="once")
    ids = await asyncio.gather(
        *(tasks.submit(mesh, request, request_id=f"r{n}") for mesh in pair for n in range(20))
    )
    assert len(set(ids)) == 20
    await tasks.ended(there, list(set(ids)))


def _opened_at(mesh: MeshHarness, agent: Process) -> bool:
    """Whether an agent's newest session was opened by this harness' coordinator."""
    assert mesh.coordinator_process is not None
    last = agent.output().rpartition('"coordinator": ')[2]
    return last.partition(",")[0].strip('"').endswith(f":{mesh.coordinator_process.pid}")


async def test_a_coordinator_that_dies_leaves_its_tasks_to_the_other(
    pair: tuple[MeshHarness, MeshHarness],
) -> None:
    """Its agents move to the other with all that they hold: nothing runs again."""
    here, there = pair
    both = f"{here.target},{there.target}"
    await asyncio.gather(*(here.agent(agent_id, slots=4, target=both) for agent_id in ("a1", "a2")))
    ledger = here.ledger()
    ids = await tasks.submit_all(
        here, [ProbeRequest(text=f"t{n}", sleep_s=0.2 * n, ledger=ledger.path) for n in range(24)]
    )
    await ledger.until("end", count=6)
    # The one that dies is the one that the first agent chose.
    dying, living = (here, there) if _opened_at(here, here.agents["a1"]) else (there, here)
    assert dying.coordinator_process is not None
    killed_at = time.monotonic()
    await dying.coordinator_process.kill()
    await asyncio.gather(*(living.wait_agent(agent_id) for agent_id in ("a1", "a2")))
    assert time.monotonic() - killed_at < 3.0
    found = await tasks.ended(living, ids)
    assert {task.state for task in found.values()} == {task_pb2.TASK_STATE_SUCCEEDED}
    assert {(task.attempt, task.crashes) for task in found.values()} == {(1, 0)}
    assert len(ledger.facts("start")) == 24


async def _agent(mesh: MeshHarness, agent_id: str) -> fleet_pb2.Agent:
    request = coordinator_pb2.GetAgentRequest(agent_id=agent_id)
    return (await mesh.api().GetAgent(request, timeout=5)).agent


@pytest.mark.slow
async def test_one_id_is_one_live_process_at_both(pair: tuple[MeshHarness, MeshHarness]) -> None:
    """The second is refused wherever it dials, and is let in as soon as the first is dead."""
    here, there = pair
    first = await here.agent("a1")
    session = await _agent(here, "a1")
    second = await there.agent("a1", wait=False)
    await until(lambda: "session.id_in_use" in second.output(), "the second is refused")
    assert "another live process is connected as agent 'a1'" in second.output()
    # The first works on, while the second dials about once a second.
    await there.wait_serving()
    for n in range(20):
        assert (await there.probe().Call(ProbeRequest(text=f"{n}", sleep_s=0.1), timeout=10)).text == f"{n}"
    for mesh in pair:
        now = await _agent(mesh, "a1")
        assert (now.epoch, now.instance_id) == (session.epoch, session.instance_id)
    assert "session.broken" not in first.output()
    assert "session.opened" not in second.output()

    ledger = here.ledger()
    task_id = await tasks.submit(there, ProbeRequest(text="moves", sleep_s=0.5, ledger=ledger.path))
    await ledger.until("start", "moves")
    await first.kill()
    killed_at = time.monotonic()
    while (await _agent(there, "a1")).instance_id == session.instance_id:
        assert time.monotonic() - killed_at < 5.0, there.logs()
        await asyncio.sleep(0.02)
    # What the first was running is lost with it, and begins again at once.
    task = (await tasks.ended(there, [task_id]))[task_id]
    assert (task.state, task.attempt, task.crashes) == (task_pb2.TASK_STATE_SUCCEEDED, 2, 1)


async def test_a_stream_left_behind_at_one_is_closed_when_its_agent_is_at_the_other(
    pair: tuple[MeshHarness, MeshHarness],
) -> None:
    """The agent gave up its link, of which the first coordinator heard nothing: heartbeats still come."""
    here, there = pair
    instance = uuid.uuid4().hex
    old = LightAgent(here.channel(), "a1", instance_id=instance)
    await old.open()
    async with LightAgent(there.channel(), "a1", instance_id=instance) as new:
        assert new.welcome.epoch > old.welcome.epoch
        error = await asyncio.wait_for(old.ended(), 2)
        assert isinstance(error, Unavailable)
        assert "dial again" in error.message
        await old.close(goodbye=False)
        # And it takes nothing along.
        await here.wait_serving()
        answer = await here.probe().Echo(Payload(data=b"by the other"), timeout=10)
        assert answer.data == b"by the other"
        assert [each.method for each in new.assigned] == [ECHO]
        for mesh in pair:
            assert (await _agent(mesh, "a1")).epoch == new.welcome.epoch


async def test_redis_away_and_back(pair: tuple[MeshHarness, MeshHarness], redis: RedisServer) -> None:
    here, there = pair
    await here.agent("a1", slots=4)
    await there.wait_serving()
    ledger = here.ledger()
    ids = [
        await tasks.submit(mesh, ProbeRequest(text=f"{n}", sleep_s=1.0, ledger=ledger.path))
        for n, mesh in enumerate((here, there, here))
    ]
    await ledger.until("start", count=3)
    # What Redis writes once a second is on its disk.
    async with asyncio.timeout(10):
        async with redis.client() as client:
            await client.bgrewriteaof()
            while (await client.info("persistence"))["aof_rewrite_in_progress"]:
                await asyncio.sleep(0.02)
    await redis.kill()

    asked_at = time.monotonic()
    with pytest.raises(_GRPC.AioRpcError) as refused:
        await tasks.submit(here, ProbeRequest(text="no"))
    assert time.monotonic() - asked_at < 5.0
    status = status_of_call(refused.value)
    info = error_info(status)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert info is not None
    assert info.reason == "STORE_UNAVAILABLE"
    assert retry_after_s(status) is not None
    # Running work goes on, and its results wait at the agent.
    await ledger.until("end", count=3)

    await redis.restart()
    found = await tasks.ended(there, ids)
    assert {task.state for task in found.values()} == {task_pb2.TASK_STATE_SUCCEEDED}
    for mesh in pair:
        await mesh.wait_serving()
        answer = await mesh.probe().Call(ProbeRequest(text="again"), timeout=10)
        assert answer.text == "again"


async def test_a_redis_that_cannot_be_used(tmp_path: Path, mesh: MeshHarness) -> None:
    async with RedisServer(tmp_path / "redis", password="secret") as redis:
        mesh.store = redis.url.replace("secret", "wrong-one")
        with pytest.raises(AssertionError, match="refuses the credentials") as refused:
            await mesh.coordinator()
        assert "wrong-one" not in str(refused.value)
    async with RedisServer(tmp_path / "evicting", options={"maxmemory-policy": "allkeys-lru"}) as redis:
        mesh.store = redis.url
        with pytest.raises(AssertionError, match="noeviction"):
            await mesh.coordinator()
    async with RedisServer(tmp_path / "lazy") as redis:
        mesh.store = redis.url
        with pytest.raises(AssertionError, match="appendfsync always"):
            await mesh.coordinator(durability="durable")
        async with redis.client() as client:
            await client.set("{weft}:layout", "a shopping list")
        with pytest.raises(AssertionError, match="not a store of weft"):
            await mesh.coordinator()
    mesh.store = redis.url
    with pytest.raises(AssertionError, match="cannot use redis:"):
        await mesh.coordinator()


@pytest.mark.slow
async def test_a_coordinator_that_is_cut_off_from_redis(
    tmp_path: Path, mesh: MeshHarness, redis: RedisServer
) -> None:
    """Its agents take what they run to the other one before their leases end: nothing runs again."""
    folder = tmp_path / "other"
    folder.mkdir()
    async with (
        FaultProxy(redis.address) as first,
        FaultProxy(redis.address) as second,
        MeshHarness(folder) as other,
    ):
        mesh.store, other.store = (f"redis://{proxy.address}/0" for proxy in (first, second))
        await asyncio.gather(mesh.coordinator(), other.coordinator())
        agent = await mesh.agent("a1", slots=4, target=f"{mesh.target},{other.target}")
        await other.wait_serving()
        ledger = mesh.ledger()
        requests = [ProbeRequest(text=f"t{n}", sleep_s=6.0, ledger=ledger.path) for n in range(4)]
        ids = await tasks.submit_all(other, requests)
        await ledger.until("start", count=4)
        here = _opened_at(mesh, agent)
        proxy, cut_off, living = (first, mesh, other) if here else (second, other, mesh)
        await proxy.blackhole()
        # Past the leases.
        found = await tasks.ended(living, ids)
        assert {(task.state, task.attempt, task.crashes) for task in found.values()} == {
            (task_pb2.TASK_STATE_SUCCEEDED, 1, 0)
        }
        assert len(ledger.facts("start")) == 4
        await proxy.heal()
        # It is of use again by itself.
        await cut_off.wait_serving()
        assert (await cut_off.probe().Call(ProbeRequest(text="again"), timeout=10)).text == "again"
