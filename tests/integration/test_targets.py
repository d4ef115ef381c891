"""Several targets: agents and clients fail over to another coordinator.

The coordinators here have stores of their own, so that it shows which of them answered; a task of the one is not known to
the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest

from probe.v1.probe_pb2 import ProbeRequest
from probe.v1.probe_pb2_grpc import ProbeServiceStub
from tests.support import tasks
from tests.support.command import weft
from tests.support.fault_proxy import FaultProxy
from tests.support.mesh import MeshHarness
from tests.support.processes import until
from tests.support.task_api import TaskApiServer
from weft.client import Mesh, Unreachable, connect
from weft.v1 import fleet_pb2

# Killed to serving elsewhere.
MOVED_S = 3.0
NOBODY = "127.0.0.1:1"
ECHO = "acme.v1.Echo/Echo"


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[MeshHarness]:
    """A second harness in which nothing runs yet."""
    folder = tmp_path / "other"
    folder.mkdir()
    async with MeshHarness(folder) as harness:
        yield harness


def in_numbers(*meshes: MeshHarness) -> str:
    return ",".join(mesh.target for mesh in meshes)


def in_names(*meshes: MeshHarness) -> str:
    return in_numbers(*meshes).replace("127.0.0.1", "localhost")


async def kill(mesh: MeshHarness) -> None:
    assert mesh.coordinator_process is not None
    await mesh.coordinator_process.kill()


# -- agents -------------------------------------------------------------------------------------------------------------


async def has_agent(mesh: MeshHarness) -> bool:
    return (await mesh.agent_states()).get("a1") == fleet_pb2.AGENT_STATE_ACTIVE


async def moved(to: MeshHarness, since: float) -> None:
    """The agent takes calls there, soon enough."""
    await to.wait_serving()
    assert time.monotonic() - since < MOVED_S
    # Its reconnecting is over: it stays.
    answer = await to.probe().Call(ProbeRequest(text="moved"), timeout=10)
    assert (answer.text, answer.agent_id) == ("moved", "a1")


async def test_an_agent_whose_coordinator_is_killed_serves_at_the_other(
    mesh: MeshHarness, other: MeshHarness
) -> None:
    await asyncio.gather(mesh.coordinator(), other.coordinator())
    await mesh.agent("a1", target=in_names(mesh, other), program=tasks.PLAIN, wait=False)

    async def connected() -> bool:
        return await has_agent(mesh) or await has_agent(other)

    await mesh.eventually(connected, "the agent is at one of them")
    here, there = (mesh, other) if await has_agent(mesh) else (other, mesh)
    await here.wait_serving()
    await kill(here)
    await moved(there, time.monotonic())

    # And back.
    await here.restart_coordinator()
    await kill(there)
    await moved(here, time.monotonic())


async def test_an_agent_leaves_a_coordinator_that_is_silent(mesh: MeshHarness, other: MeshHarness) -> None:
    await asyncio.gather(mesh.coordinator(heartbeat_interval_s=0.2), other.coordinator())
    await kill(other)
    async with FaultProxy(mesh.target) as proxy:
        await mesh.agent("a1", target=f"{other.target},{proxy.address}", program=tasks.PLAIN)
        await mesh.wait_serving()
        await other.restart_coordinator()

        await proxy.blackhole()
        await moved(other, time.monotonic())


async def test_an_agent_dials_every_address_of_a_name(mesh: MeshHarness) -> None:
    """localhost is ::1 too, where nobody listens."""
    await mesh.coordinator()
    await mesh.agent("a1", target=f"{NOBODY},{in_names(mesh)}", program=tasks.PLAIN)
    await moved(mesh, time.monotonic())


# -- clients ------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def two(mesh: MeshHarness, other: MeshHarness) -> tuple[MeshHarness, MeshHarness]:
    """Two meshes, whose agents are called "one" and "two"."""
    await asyncio.gather(mesh.coordinator(), other.coordinator())
    await asyncio.gather(mesh.agent("one", program=tasks.PLAIN), other.agent("two", program=tasks.PLAIN))
    await asyncio.gather(mesh.wait_serving(), other.wait_serving())
    return mesh, other


@pytest.mark.parametrize("form", [in_numbers, in_names])
async def test_a_channel_goes_on_when_a_coordinator_is_killed(
    two: tuple[MeshHarness, MeshHarness], form: Callable[..., str]
) -> None:
    async with connect(form(*two)) as client:
        stub = ProbeServiceStub(client.channel())
        here, there = two
        if (await stub.Call(ProbeRequest(), timeout=10)).agent_id == "two":
            here, there = there, here
        ledger = here.ledger()
        underway = stub.Call(ProbeRequest(text="underway", sleep_s=60, ledger=ledger.path), timeout=30)
        await ledger.until("start", "underway")

        await kill(here)
        with pytest.raises(grpc.aio.AioRpcError) as broken:
            await underway
        assert broken.value.code() is grpc.StatusCode.UNAVAILABLE
        # The very next one, without a repetition.
        assert (await stub.Call(ProbeRequest(), timeout=10)).agent_id in there.agents
        handle = await client.tasks.submit(tasks.method("Call"), ProbeRequest())
        assert (await handle.ended(timeout_s=10)).agent_id in there.agents

        # And back.
        await here.restart_coordinator()
        await here.wait_serving()
        await kill(there)
        await until(
            lambda: client.channel().get_state() is not grpc.ChannelConnectivity.READY, "the loss is seen"
        )
        assert (await stub.Call(ProbeRequest(), timeout=10)).agent_id in here.agents


async def test_a_dead_coordinator_in_the_list_costs_nothing(shared_mesh: MeshHarness) -> None:
    for _ in range(8):
        async with connect([NOBODY, shared_mesh.target]) as client:
            reply = await ProbeServiceStub(client.channel()).Call(ProbeRequest(text="x"), timeout=10)
            assert reply.text == "x"


async def test_nobody_answers_at_any() -> None:
    async with connect(f"{NOBODY},localhost:2", timeout_s=0.3) as client:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1,localhost:2"):
            await client.tasks.get("t0")
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1,localhost:2"):
            await client.ready(0.2)


@pytest.mark.slow
async def test_the_command_takes_several(shared_mesh: MeshHarness) -> None:
    several = f"{NOBODY},{shared_mesh.target}"
    for done in (await weft("agents", "list", "--target", several), await weft("queues", target=several)):
        assert done.status == 0, done.err
        assert "a1" in done.out or "ProbeService" in done.out
    nobody = await weft("agents", "list", "--target", f"{NOBODY},127.0.0.1:2")
    assert nobody.status == 1
    assert "no coordinator answers at 127.0.0.1:1,127.0.0.1:2" in nobody.err


# -- clients of coordinators that share their store -----------------------------------------------------------------------


@pytest.fixture
async def shared() -> AsyncIterator[tuple[TaskApiServer, TaskApiServer]]:
    """Two servers in front of the same tasks, which do not end before `hold` is set."""
    first, second = TaskApiServer(), TaskApiServer()
    second.api.tasks = first.api.tasks
    second.api.by_request_id = first.api.by_request_id
    for server in (first, second):
        server.api.hold.clear()
    async with first, second:
        yield first, second


async def test_a_bulk_goes_on_at_another_coordinator(shared: tuple[TaskApiServer, TaskApiServer]) -> None:
    first, second = shared
    async with connect([first.target, second.target]) as client:
        sent = [b"%d" % number for number in range(600)]
        run = asyncio.create_task(collected(client, sent))
        await until(lambda: bool(first.api.tasks), "something is stored")
        lost, left = (first, second) if first.api.streams else (second, first)
        assert not left.api.streams
        await lost.stop()
        left.api.hold.set()

        assert await run == sent
        assert len(left.api.tasks) == 600, "the same request ids: nothing is stored twice"
        assert left.api.streams == 1


async def collected(client: Mesh, sent: list[bytes]) -> list[bytes]:
    got = [(done.index, done.result()) async for done in client.tasks.run_many(ECHO, sent)]
    return [response for _, response in sorted(got)]


async def test_a_wait_goes_on_at_another_coordinator(shared: tuple[TaskApiServer, TaskApiServer]) -> None:
    first, second = shared
    async with connect([first.target, second.target]) as client:
        handle = await client.tasks.submit(ECHO, b"x")
        result = asyncio.create_task(handle.result(timeout_s=30))
        await until(lambda: bool(first.api.wait_calls or second.api.wait_calls), "it is waited for")
        lost, left = (first, second) if first.api.wait_calls else (second, first)
        await lost.stop()
        left.api.hold.set()

        assert await result == b"x"
        assert left.api.wait_calls
