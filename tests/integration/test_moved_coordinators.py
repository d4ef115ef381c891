"""Coordinators that move, while a source names them: agents, clients and commands follow, and no acknowledged task is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from probe.v1.probe_pb2 import ProbeRequest
from probe.v1.probe_pb2_grpc import ProbeServiceStub
from tests.support import tasks
from tests.support.beside import DURABLE, StockApp, free_address, sidecar, until_reached
from tests.support.calling import ASYNC, ISOLATED, ISOLATED_ASYNC, SYNC
from tests.support.command import weft
from tests.support.consul import ConsulDouble
from tests.support.mesh import MeshHarness
from weft.client import Method, connect
from weft.v1 import fleet_pb2

pytestmark = pytest.mark.slow

TASKS = 100


def name(path: Path, *addresses: str) -> None:
    """Make these the addresses in the file."""
    other = path.with_suffix(".new")
    other.write_text("\n".join(addresses))
    other.replace(path)


async def test_all_follow_and_no_acknowledged_task_is_lost(mesh: MeshHarness) -> None:
    async with ConsulDouble() as consul:
        await mesh.coordinator(reconnect_grace_s=5)
        consul.put(mesh.target)
        await mesh.agent("a1", target=consul.target, wait=False)
        await mesh.wait_serving()
        async with connect(consul.target, patience_s=30) as client:
            stub = ProbeServiceStub(client.channel())
            assert (await stub.Call(ProbeRequest(text="before"), timeout=30)).text == "before"
            handles = [
                await client.tasks.submit(stub.Call, ProbeRequest(text=str(n), sleep_s=0.02))
                for n in range(TASKS)
            ]

            await mesh.move_coordinator()
            consul.put(mesh.target)

            answers = [await handle.result(timeout_s=60) for handle in handles]
            assert [each.text for each in answers] == [str(n) for n in range(TASKS)]
            # A new call of the old channel.
            assert (await stub.Call(ProbeRequest(text="after"), timeout=30)).text == "after"


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[list[MeshHarness]]:
    made = []
    for number in range(3):
        folder = tmp_path / f"c{number}"
        folder.mkdir()
        made.append(MeshHarness(folder))
    try:
        await asyncio.gather(*(each.coordinator() for each in made))
        yield made
    finally:
        for each in made:
            await each.close()


async def test_one_of_three_goes(three: list[MeshHarness], tmp_path: Path) -> None:
    """Their stores are their own, so that it shows which of them has the agent."""
    path = tmp_path / "coordinators"
    name(path, *(each.target for each in three))
    await three[0].agent("a1", target=f"file://{path}", program=tasks.PLAIN, wait=False)

    async def has(mesh: MeshHarness) -> bool:
        return (await mesh.agent_states()).get("a1") == fleet_pb2.AGENT_STATE_ACTIVE

    where: list[MeshHarness] = []

    async def somewhere(among: list[MeshHarness]) -> bool:
        where[:] = [each for each in among if await has(each)]
        return bool(where)

    await three[0].eventually(lambda: somewhere(three), "the agent is at one of them")
    [first] = where
    left = [each for each in three if each is not first]
    # Its address goes: the session stays as long as its coordinator does.
    name(path, *(each.target for each in left))
    told = await weft("doctor", "--target", f"file://{path}")
    assert all(each.target in told.out for each in left), told
    assert first.target not in told.out
    assert await has(first)

    assert first.coordinator_process is not None
    await first.coordinator_process.kill()
    await left[0].eventually(lambda: somewhere(left), "the agent is at another one")
    [second] = where
    [last] = [each for each in left if each is not second]

    # The source is away: the last known addresses are used.
    path.unlink()
    assert second.coordinator_process is not None
    await second.coordinator_process.kill()
    await last.eventually(lambda: somewhere([last]), "the agent is at the last one")


async def test_sidecars_and_handlers_follow(mesh: MeshHarness, tmp_path: Path) -> None:
    """The egress of a sidecar, and the clients of handlers: on the loop, in threads, and in isolated processes, which follow the source themselves."""
    path = tmp_path / "coordinators"
    source = f"file://{path}"
    await mesh.coordinator(reconnect_grace_s=5)
    name(path, mesh.target)
    egress = free_address()
    app = StockApp(mesh)
    await app.start()
    await mesh.agent("a1", target=source, program="tests.support.calling:agent", slots=16, wait=False)
    await sidecar(mesh, app.address, "--target", source, egress=egress)
    await until_reached(egress)

    async with connect(source, patience_s=30) as client, grpc.aio.insecure_channel(egress) as channel:
        stub = ProbeServiceStub(channel)

        async def calls() -> None:
            for handler in (ASYNC, SYNC, ISOLATED, ISOLATED_ASYNC):
                asked = {"method": ASYNC, "own_mesh": True, "way": "call", "target": source}
                handle = await client.tasks.submit(
                    Method.of(handler, Struct, Struct), ParseDict(asked, Struct())
                )
                answer = await handle.result(timeout_s=60)
                assert "child" in answer, handler
            reply = await stub.Call(
                ProbeRequest(text="x"), timeout=60, metadata=(DURABLE,), wait_for_ready=True
            )
            assert reply.text == "x"

        await calls()
        await mesh.move_coordinator()
        name(path, mesh.target)
        await mesh.wait_agent("a1")
        await mesh.wait_agent("side")
        await calls()
