"""Schedules under kills of their coordinators: each tick is one task, none is lost and none comes twice.

The storms of `make chaos` have schedules too. WEFT_SEED repeats a run; with TEST_SOAK=1, the long ones take two minutes.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from probe.v1.probe_pb2 import Payload
from tests.chaos.harness.ticks import TICK, TickCounts, Ticks, judged
from tests.support.clocks import clock_off
from tests.support.deployments import Deployment, embedded, redis
from tests.support.lightweight import ECHO, LightAgent
from tests.support.mesh import MeshHarness
from tests.support.soak import SOAKS, soak
from weft.rpc.times import duration, timestamp
from weft.v1 import coordinator_pb2, schedule_pb2, task_pb2
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub
from weft.v1.schedule_pb2_grpc import ScheduleServiceStub

SCHEDULES = 12
OFF_S = 3600.0


class Door:
    """The way into a mesh by one coordinator."""

    def __init__(self, mesh: MeshHarness) -> None:
        self._mesh = mesh

    def api(self) -> CoordinatorServiceStub:
        return self._mesh.api()

    def schedules(self) -> ScheduleServiceStub:
        return ScheduleServiceStub(self._mesh.channel())


async def ticks_of(mesh: MeshHarness, rng: random.Random) -> Ticks:
    """Schedules that were created there. Their method is known, though no agent is there any more."""
    async with LightAgent(mesh.own_channel(), "a1", methods=(ECHO,)):
        await mesh.wait_serving()
    made = Ticks(Door(mesh), rng, ECHO, Payload(data=b"tick").SerializeToString(), SCHEDULES)
    await made.create()
    return made


async def run(meshes: Sequence[MeshHarness], duration_s: float) -> None:
    """Kill one coordinator after another, at random times, and start it again."""
    seed = int(os.environ.get("WEFT_SEED") or random.SystemRandom().getrandbits(31))
    print(f"WEFT_SEED={seed}")
    rng = random.Random(seed)
    ticks = await ticks_of(meshes[0], rng)
    kills, ends_at = 0, time.monotonic() + duration_s
    while time.monotonic() < ends_at or kills < 3:
        await asyncio.sleep(rng.uniform(0.05, 1.2))
        await rng.choice(meshes).restart_coordinator()
        kills += 1
    counts = await ticks.counts()
    print(f"{kills} kills: {counts}")
    assert counts.ticks > SCHEDULES * duration_s / 4
    assert (counts.double, counts.lost) == (0, 0)


@pytest.mark.parametrize("deployment", [embedded, pytest.param(redis, marks=pytest.mark.slow)])
async def test_kills_cost_no_tick_and_make_none_double(tmp_path: Path, deployment: Deployment) -> None:
    async with deployment(tmp_path) as meshes:
        await run(meshes, 6.0)


@soak
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("deployment", [embedded, redis])
async def test_many_kills_cost_no_tick_and_make_none_double(tmp_path: Path, deployment: Deployment) -> None:
    async with deployment(tmp_path) as meshes:
        await run(meshes, 120.0 if SOAKS else 20.0)


@pytest.mark.slow
async def test_a_clock_that_was_set_back_makes_no_tick_double(tmp_path: Path) -> None:
    """The embedded store's clock is that of its coordinator: an hour forward, and back again."""
    async with embedded(tmp_path) as (mesh,):
        await ticks_of(mesh, random.Random(1))
        for offset_s in (OFF_S, 0.0):
            mesh.env = dict(clock_off(offset_s))
            await mesh.restart_coordinator()
            await asyncio.sleep(1.0)
        # Ticks of the hour forward were made up for, within the window. The clock is back: no tick comes for an hour.
        request = coordinator_pb2.ListTasksRequest(page_size=1000)
        tasks = (await mesh.api().ListTasks(request, timeout=10)).tasks
        names = [task.request_id for task in tasks if task.request_id.startswith(TICK)]
        assert len(names) == len(set(names))
        assert len(names) > SCHEDULES


@pytest.mark.slow
async def test_a_coordinator_that_stays_away_takes_no_schedule_with_it(tmp_path: Path) -> None:
    async with redis(tmp_path) as (here, there):
        await ticks_of(here, random.Random(2))
        ticks = Ticks(Door(there), random.Random(), ECHO, b"", SCHEDULES)
        assert here.coordinator_process is not None
        await here.coordinator_process.kill()
        before = {each.name: each.submitted_count for each in await ticks.listed()}

        async def on() -> bool:
            return all(each.submitted_count >= before[each.name] + 2 for each in await ticks.listed())

        await there.eventually(on, "each schedule has two more ticks")
        counts = await ticks.counts()
        assert (counts.double, counts.lost) == (0, 0)


def test_the_verdict_sees_what_is_wrong() -> None:
    schedule = schedule_pb2.Schedule(name="s", create_time=timestamp(100.0), submitted_count=3)
    schedule.spec.interval.CopyFrom(duration(10.0))

    def task(at: float) -> task_pb2.Task:
        pairs = {"schedule-name": "s", "schedule-time": timestamp(at).ToJsonString()}
        metadata = [task_pb2.Metadatum(key=key, value=value.encode()) for key, value in pairs.items()]
        context = task_pb2.CallContext(metadata=metadata)
        return task_pb2.Task(options=task_pb2.TaskOptions(context=context))

    right = [task(110.0), task(120.0), task(130.0)]
    assert judged([schedule], right) == TickCounts(3, 0, 0)
    assert judged([schedule], [*right, task(120.0)]) == TickCounts(3, 1, 0)
    # One tick has no task, and the schedule says that three have.
    assert judged([schedule], [task(110.0), task(130.0)]) == TickCounts(2, 0, 2)
