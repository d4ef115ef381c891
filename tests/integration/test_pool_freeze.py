"""Members of pools that stand still: they have left in order, nothing of theirs is lost or healed, and they come back with their memory."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.support.pooled import PROBE, PooledMachine, pooled, stands
from tests.support.processes import until
from weft.client import AgentState, FailedPrecondition, Mesh, Pool, PoolState, PoolTemplate, connect, methods
from weft.v1 import lifecycle_pb2

pytestmark = pytest.mark.slow
CALL = methods(probe_pb2_grpc.ProbeServiceStub).Call
HAPPENED = (
    lifecycle_pb2.AgentJoined,
    lifecycle_pb2.AgentLeft,
    lifecycle_pb2.AgentLost,
    lifecycle_pb2.AgentSuspect,
)


def process_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def rests(mesh: Mesh, name: str) -> Pool:
    """Wait until a paused pool is as it should be."""
    pool = await mesh.pools.wait_ready(name, timeout_s=20)
    assert pool.state is PoolState.PAUSED
    return pool


async def states(mesh: Mesh) -> set[AgentState]:
    return {agent.state for agent in await mesh.fleet.agents()}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("store", ["embedded", "redis"])
async def test_members_stand_still_and_come_back(tmp_path: Path, store: str) -> None:
    async with pooled(tmp_path, store) as (here, meshes), connect(meshes[0].target) as mesh:
        told: list[tuple[str, str]] = []

        async def follow(kind: type) -> None:
            async with aclosing(mesh.events.subscribe(kind)) as events:
                async for event in events:
                    told.append((kind.__name__, event.message.member.instance_id))

        following = [asyncio.create_task(follow(kind)) for kind in HAPPENED]
        # Its grace is long: what it runs is not cut.
        await mesh.pools.create("workers", replace(PROBE, stop_grace_s=30), size=2)
        before = await stands(mesh, "workers", 2)
        running = await mesh.tasks.submit(CALL, ProbeRequest(sleep_s=2, text="done"))
        await until(lambda: len([each for each, _ in told if each == "AgentJoined"]) == 2, "they joined")
        await mesh.pools.pause("workers", "the night", freeze=True)
        pool = await rests(mesh, "workers")
        assert (await running.result(timeout_s=1)).text == "done"
        assert all(member.frozen for member in pool.members)
        assert {process_state(pid) for pid in here.members()} == {"T"}
        async with asyncio.timeout(10):
            while await states(mesh) != {AgentState.LEFT}:
                await asyncio.sleep(0.05)
        waits = await mesh.tasks.submit(CALL, ProbeRequest(text="later"))
        # Longer than a lease, and than a lost member has: nothing is healed.
        await asyncio.sleep(11)
        pool = await rests(mesh, "workers")
        assert (pool.lost, pool.started) == (0, 2)
        assert {each.handle for each in pool.members} == {each.handle for each in before.members}
        await mesh.pools.resume("workers")
        after = await stands(mesh, "workers", 2)
        assert {each.handle for each in after.members} == {each.handle for each in before.members}
        assert (await waits.result(timeout_s=10)).text == "later"
        await until(lambda: len(told) >= 6, "they came back")
        for each in following:
            each.cancel()
        # The same processes have left and joined again; nobody was lost.
        assert sorted(kind for kind, _ in told) == ["AgentJoined"] * 4 + ["AgentLeft"] * 2
        assert len({instance for _, instance in told}) == 2
        await frozen_ones_end(mesh, here)


async def frozen_ones_end(mesh: Mesh, here: PooledMachine) -> None:
    """Kills, a restart and a deletion reach those that stand still."""
    await mesh.pools.pause("workers", freeze=True)
    pool = await rests(mesh, "workers")
    os.kill(int(pool.members[0].handle), signal.SIGKILL)
    await until(lambda: len(set(here.members().values())) == 1, "it has ended")
    await mesh.pools.resume("workers")
    healed = await stands(mesh, "workers", 2)
    assert healed.lost == 1
    await mesh.pools.pause("workers", freeze=True)
    await rests(mesh, "workers")
    await mesh.pools.delete("workers")
    await here.wait_empty()


@pytest.mark.timeout(120)
async def test_what_still_runs_after_the_grace_runs_elsewhere(tmp_path: Path) -> None:
    async with pooled(tmp_path) as (here, (own,)), connect(own.target) as mesh:
        await mesh.pools.create("workers", replace(PROBE, stop_grace_s=1), size=1)
        await stands(mesh, "workers", 1)
        handle = await mesh.tasks.submit(CALL, ProbeRequest(sleep_s=15, text="done"))
        async with asyncio.timeout(10):
            while (await handle.snapshot()).attempt == 0:
                await asyncio.sleep(0.05)
        await mesh.pools.pause("workers", freeze=True)
        await rests(mesh, "workers")
        # A coordinator that starts again finds it as it is.
        await own.restart_coordinator()
        await mesh.pools.create("others", PROBE, size=1)
        await stands(mesh, "others", 1)
        assert (await handle.result(timeout_s=40)).text == "done"
        task = await handle.snapshot()
        assert task.agent_id.startswith("others-")
        await mesh.pools.resume("workers")
        await stands(mesh, "workers", 1)
        await mesh.pools.delete("workers")
        await mesh.pools.delete("others")
        await here.wait_empty()


async def test_a_provider_that_cannot_freeze_is_refused(tmp_path: Path) -> None:
    async with pooled(tmp_path) as (_, (own,)):
        await own.restart_coordinator(pool_providers="process,kubernetes", pool_target="10.0.0.1:7700")
        async with connect(own.target) as mesh:
            await mesh.pools.create("pods", PoolTemplate(provider="kubernetes", image="acme/worker"), size=0)
            with pytest.raises(FailedPrecondition, match="cannot stand still") as refused:
                await mesh.pools.pause("pods", freeze=True)
            assert refused.value.reason_name == "POOL_CANNOT_FREEZE"
            assert not (await mesh.pools.get("pods")).paused
            assert (await mesh.pools.pause("pods", "a while")).paused
            can = {each.name: each.can_freeze for each in await mesh.pools.providers()}
            assert can == {"process": True, "kubernetes": False}
            await mesh.pools.delete("pods")
