"""Schedules under kills of their coordinators: each tick is one task, none is lost and none comes twice.

WEFT_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import pytest

from probe.v1.probe_pb2 import Payload
from tests.support.clocks import clock_off
from tests.support.lightweight import ECHO, LightAgent
from tests.support.mesh import MeshHarness
from tests.support.redis_server import RedisServer
from weft.coordinator.schedules.schedule_codec import timing_of
from weft.rpc.times import duration, seconds
from weft.v1 import coordinator_pb2, schedule_pb2, schedule_pb2_grpc, task_pb2

SCHEDULES = 12
OFF_S = 3600.0


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[list[MeshHarness]]:
    async with MeshHarness(folder) as mesh:
        await mesh.coordinator()
        yield [mesh]


@asynccontextmanager
async def redis(folder: Path) -> AsyncIterator[list[MeshHarness]]:
    """Two coordinators."""
    other = folder / "other"
    other.mkdir()
    async with RedisServer(folder) as server, MeshHarness(folder) as here, MeshHarness(other) as there:
        here.store = there.store = server.url
        await asyncio.gather(here.coordinator(), there.coordinator())
        yield [here, there]


def schedules_of(mesh: MeshHarness) -> schedule_pb2_grpc.ScheduleServiceStub:
    return schedule_pb2_grpc.ScheduleServiceStub(mesh.channel())


async def create(mesh: MeshHarness, rng: random.Random) -> None:
    """Schedules with frequent ticks, at different times. The contract is known, though no agent is there."""
    async with LightAgent(mesh.own_channel(), "a1", methods=(ECHO,)):
        await mesh.wait_serving()
    for n in range(SCHEDULES):
        spec = schedule_pb2.ScheduleSpec(
            method=ECHO,
            payload=Payload(data=b"tick").SerializeToString(),
            interval=duration(rng.choice([1.0, 1.25, 2.0])),
            jitter=duration(rng.choice([0.0, 0.5])),
            overlap=schedule_pb2.OVERLAP_POLICY_ALLOW,
        )
        request = schedule_pb2.CreateScheduleRequest(name=f"s{n:02}", spec=spec)
        await schedules_of(mesh).CreateSchedule(request, timeout=10)
        await asyncio.sleep(rng.random() * 0.1)


async def kill_and_restart(meshes: Sequence[MeshHarness], rng: random.Random, until_s: float) -> int:
    """Kill one coordinator after another, at random times; the number of kills."""
    kills = 0
    while time.monotonic() < until_s:
        await asyncio.sleep(rng.uniform(0.05, 1.2))
        mesh = rng.choice(meshes)
        await mesh.restart_coordinator()
        kills += 1
    return kills


async def all_tasks(mesh: MeshHarness) -> list[task_pb2.Task]:
    found: list[task_pb2.Task] = []
    token = ""
    while True:
        request = coordinator_pb2.ListTasksRequest(
            page_size=1000, page_token=token, view=task_pb2.TASK_VIEW_FULL
        )
        page = await mesh.api().ListTasks(request, timeout=30)
        found += page.tasks
        token = page.next_page_token
        if not token:
            return found


async def paused(mesh: MeshHarness) -> list[schedule_pb2.Schedule]:
    """All schedules, after their last ticks: paused, with nothing pending. `next_time` is that of before the pause."""
    stub, found = schedules_of(mesh), []
    listed = (
        await stub.ListSchedules(schedule_pb2.ListSchedulesRequest(page_size=1000), timeout=10)
    ).schedules
    for schedule in listed:
        await stub.PauseSchedule(schedule_pb2.PauseScheduleRequest(name=schedule.name), timeout=10)

        async def settled(name: str = schedule.name) -> bool:
            request = schedule_pb2.GetScheduleRequest(name=name)
            return not (await stub.GetSchedule(request, timeout=10)).schedule.HasField("pending_time")

        await mesh.eventually(settled, f"no tick of {schedule.name} is pending")
        request = schedule_pb2.GetScheduleRequest(name=schedule.name)
        found.append((await stub.GetSchedule(request, timeout=10)).schedule)
    return found


def judge(schedules: Sequence[schedule_pb2.Schedule], tasks: Sequence[task_pb2.Task]) -> tuple[int, int, int]:
    """(ticks, double ones, lost ones), by the metadata that handlers get."""
    made: dict[str, Counter[str]] = defaultdict(Counter)
    for task in tasks:
        metadata = {entry.key: entry.value.decode() for entry in task.options.context.metadata}
        made[metadata["schedule-name"]][metadata["schedule-time"]] += 1
    count = double = lost = 0
    for schedule in schedules:
        mine = made[schedule.name]
        count += len(mine)
        double += sum(each - 1 for each in mine.values())
        # Every tick from the creation up to the last one that came.
        timing, tick = timing_of(schedule), seconds(schedule.create_time)
        last = max(mine)
        while True:
            following = timing.next_after(tick)
            assert following is not None
            tick = following
            name = _text(tick)
            lost += name not in mine
            if name == last:
                break
            assert name < last
        assert schedule.submitted_count == sum(mine.values())
        assert not schedule.missed_count
    return count, double, lost


def _text(at: float) -> str:
    from weft.rpc.times import timestamp

    return timestamp(at).ToJsonString()


async def run(meshes: Sequence[MeshHarness], duration_s: float) -> None:
    seed = int(os.environ.get("WEFT_SEED") or random.SystemRandom().getrandbits(31))
    print(f"WEFT_SEED={seed}")
    rng = random.Random(seed)
    await create(meshes[0], rng)
    kills = await kill_and_restart(meshes, rng, time.monotonic() + duration_s)
    # All that was left in the middle is taken up, and a tick comes after the last kill.
    await _until_even(meshes[0])
    schedules = await paused(meshes[0])
    count, double, lost = judge(schedules, await all_tasks(meshes[0]))
    print(f"{count} ticks of {len(schedules)} schedules, {kills} kills: {double} double, {lost} lost")
    assert len(schedules) == SCHEDULES
    assert kills >= 3
    assert count > SCHEDULES * duration_s / 4
    assert (double, lost) == (0, 0)


async def _until_even(mesh: MeshHarness) -> None:
    """Wait until no schedule is behind."""

    async def even() -> bool:
        request = schedule_pb2.ListSchedulesRequest(page_size=1000)
        found = (await schedules_of(mesh).ListSchedules(request, timeout=10)).schedules
        now = time.time()
        return all(
            not each.HasField("pending_time") and seconds(each.next_submit_time) > now - 0.5 for each in found
        )

    await mesh.eventually(even, "every schedule is up to date")


@pytest.mark.parametrize("deployment", [embedded, redis])
async def test_kills_cost_no_tick_and_make_none_double(tmp_path: Path, deployment: object) -> None:
    async with deployment(tmp_path) as meshes:  # type: ignore[operator]
        await run(meshes, 6.0)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("deployment", [embedded, redis])
async def test_many_kills_cost_no_tick_and_make_none_double(tmp_path: Path, deployment: object) -> None:
    async with deployment(tmp_path) as meshes:  # type: ignore[operator]
        await run(meshes, 120.0)


async def test_a_clock_that_was_set_back_makes_no_tick_double(tmp_path: Path) -> None:
    """The embedded store's clock is that of its coordinator: an hour forward, and back again."""
    async with embedded(tmp_path) as (mesh,):
        rng = random.Random(1)
        await create(mesh, rng)
        for offset_s in (OFF_S, 0.0):
            mesh.env = dict(clock_off(offset_s))
            await mesh.restart_coordinator()
            await asyncio.sleep(1.0)
        # From now on nothing comes for an hour. What the hour forward brought was made up for, as far as it came.
        stub = schedules_of(mesh)
        request = schedule_pb2.ListSchedulesRequest(page_size=1000)
        found = (await stub.ListSchedules(request, timeout=10)).schedules
        tasks = await all_tasks(mesh)
        names = [task.request_id for task in tasks]
        assert len(names) == len(set(names))
        assert len(names) > SCHEDULES
        for schedule in found:
            if not schedule.HasField("pending_time"):
                assert schedule.submitted_count == sum(
                    name.startswith(f"schedule.{schedule.uid}.") for name in names
                )


async def test_a_coordinator_that_is_away_takes_no_schedule_with_it(tmp_path: Path) -> None:
    """Redis: while one coordinator is killed and stays away, the other one runs every schedule."""
    async with redis(tmp_path) as (here, there):
        await create(here, random.Random(2))
        assert here.coordinator_process is not None
        await here.coordinator_process.kill()
        before = {each.name: each.submitted_count for each in await _listed(there)}

        async def on() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):
                return all(each.submitted_count >= before[each.name] + 2 for each in await _listed(there))
            return False

        await there.eventually(on, "each schedule has two more ticks")
        schedules = await paused(there)
        assert judge(schedules, await all_tasks(there))[1:] == (0, 0)


async def _listed(mesh: MeshHarness) -> Sequence[schedule_pb2.Schedule]:
    request = schedule_pb2.ListSchedulesRequest(page_size=1000)
    found: Sequence[schedule_pb2.Schedule] = (
        await schedules_of(mesh).ListSchedules(request, timeout=10)
    ).schedules
    return found
