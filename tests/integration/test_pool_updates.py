"""New versions of pools under load: no call and no task is lost, and a bad version is rolled back. And as many members as the work needs."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.support.load import Load
from tests.support.pooled import PROBE, pooled, stands
from tests.support.processes import ROOT
from tests.support.rolling import METHOD, request_class
from tests.support.soak import EITHER_STORE, SOAKS
from weft.client import Autoscale, Mesh, Pool, PoolState, PoolTemplate, Rollout, connect, methods

pytestmark = pytest.mark.slow

ROLLING = PoolTemplate(
    program="tests.support.rolling:agent",
    folder=str(ROOT),
    slots=4,
    environment={"ROLLING_VERSION": "1"},
    # A start of its own takes several seconds on a busy machine: that is not what makes a version bad here.
    ready_timeout_s=30,
)


def version(number: int) -> PoolTemplate:
    return replace(ROLLING, environment={"ROLLING_VERSION": str(number)})


async def through(mesh: Mesh, name: str, *, within_s: float = 60.0) -> Pool:
    """Wait until a pool's members are all of its version."""
    async with asyncio.timeout(within_s):
        while True:
            pool = await mesh.pools.get(name)
            if not pool.rolling and pool.state is PoolState.READY:
                return pool
            await asyncio.sleep(0.1)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("store", EITHER_STORE)
async def test_an_update_under_load_loses_nothing_and_a_bad_one_goes_back(tmp_path: Path, store: str) -> None:
    async with pooled(tmp_path, store) as (here, meshes), connect(meshes[0].target) as mesh:
        rollout = Rollout(healthy_for_s=0.5, max_failures=2)
        await mesh.pools.create("rolling", version(1), size=3, rollout=rollout)
        await stands(mesh, "rolling", 3)
        request = request_class(1)(text="hello").SerializeToString()
        durable = mesh.channel().unary_unary(f"/{METHOD}")
        direct = mesh.channel(direct=True).unary_unary(f"/{METHOD}")
        load = Load()
        load.add("durable", lambda: durable(request, timeout=20), at_a_time=3)
        load.add("direct", lambda: direct(request, timeout=20), at_a_time=3)

        async def task() -> None:
            handle = await mesh.tasks.submit(METHOD, request, request_id=uuid.uuid4().hex)
            await handle.result(timeout_s=20)

        load.add("task", task, at_a_time=3)
        await asyncio.sleep(0.5)
        await mesh.pools.update("rolling", version(2))
        pool = await through(mesh, "rolling")
        assert {member.version for member in pool.members} == {2}
        good = {member.id for member in pool.members}
        # No contract of before fits: its agents are refused.
        await mesh.pools.update("rolling", version(3))
        pool = await through(mesh, "rolling")
        assert (pool.version, pool.lost) == (2, 0)
        assert {member.id for member in pool.members} == good
        assert pool.rolled_back.startswith("version 3: ")
        await asyncio.sleep(0.5)
        await load.stop()
        assert not load.failed
        assert min(load.made.values()) > 30
        if not SOAKS:
            return
        # An operator goes back by hand.
        await mesh.pools.update("rolling", version(1), percent=34)
        pool = await through(mesh, "rolling")
        assert sorted(member.version for member in pool.members) == [2, 4, 4]
        await mesh.pools.roll_back("rolling")
        pool = await through(mesh, "rolling")
        assert {member.version for member in pool.members} == {2}
        await mesh.pools.delete("rolling")
        await here.wait_empty()


@pytest.mark.parametrize("store", EITHER_STORE)
async def test_a_pool_has_the_members_that_the_work_needs(tmp_path: Path, store: str) -> None:
    async with pooled(tmp_path, store) as (here, meshes), connect(meshes[0].target) as mesh:
        probe = methods(probe_pb2_grpc.ProbeServiceStub)
        autoscale = Autoscale(min=0, max=3, target_per_member=2, cool_down_s=2)
        await mesh.pools.create("work", PROBE, size=1, autoscale=autoscale)
        await stands(mesh, "work", 1)
        await stands(mesh, "work", 0)
        # There is no member: its methods are remembered.
        handles = [await mesh.tasks.submit(probe.Call, ProbeRequest(sleep_s=0.5)) for _ in range(12)]
        await stands(mesh, "work", 3)
        for handle in handles:
            await handle.result(timeout_s=20)
        await stands(mesh, "work", 0)
        await here.wait_empty()
        if not SOAKS:
            return
        await mesh.pools.create("rests", PROBE, idle_stop_s=1)
        await stands(mesh, "rests", 1)
        async with asyncio.timeout(10):
            while (await mesh.pools.get("rests")).state is not PoolState.IDLE:
                await asyncio.sleep(0.1)
        await here.wait_empty()
        await mesh.pools.delete("work")
        handle = await mesh.tasks.submit(probe.Call, ProbeRequest(text="wake up"))
        assert (await handle.result(timeout_s=20)).text == "wake up"
        await mesh.pools.launch(PROBE, name="short", ttl_s=1)
        async with asyncio.timeout(15):
            while "short" in [pool.name async for pool in mesh.pools.list()]:
                await asyncio.sleep(0.1)
