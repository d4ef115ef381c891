"""Schedules with frequent ticks beside the load, and their verdict: each tick is one task, none is lost and none comes twice."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.chaos.harness.asking import PATIENCE_S, TaskDoor, all_tasks, answered
from weft.coordinator.schedules.schedule_codec import timing_of
from weft.rpc.times import duration, seconds, timestamp
from weft.v1 import schedule_pb2, task_pb2
from weft.v1.schedule_pb2_grpc import ScheduleServiceStub

# Request ids of ticks begin so.
TICK = "schedule."
_CALL_S = 10.0
_AGAIN_S = 0.1


class TickDoor(TaskDoor, Protocol):
    """The way to the schedules of a mesh, and to its tasks."""

    def schedules(self) -> ScheduleServiceStub: ...


@dataclass(frozen=True, slots=True)
class TickCounts:
    """Ticks that became tasks, tasks of a tick beyond the first, and ticks without a task."""

    ticks: int
    double: int
    lost: int


class Ticks:
    """Schedules of one run.

    Args:
        method: a method that is hosted; payload: its request.
    """

    def __init__(self, door: TickDoor, rng: random.Random, method: str, payload: bytes, count: int) -> None:
        self._door = door
        self._rng = rng
        self._spec = schedule_pb2.ScheduleSpec(
            method=method, payload=payload, overlap=schedule_pb2.OVERLAP_POLICY_ALLOW
        )
        self._count = count

    async def create(self) -> None:
        """Create the schedules, with ticks at different times."""
        for n in range(self._count):
            spec = schedule_pb2.ScheduleSpec()
            spec.CopyFrom(self._spec)
            spec.interval.CopyFrom(duration(self._rng.choice([1.0, 1.25, 2.0])))
            spec.jitter.CopyFrom(duration(self._rng.choice([0.0, 0.5])))
            request = schedule_pb2.CreateScheduleRequest(name=f"s{n:02}", spec=spec)
            await answered(
                lambda request=request: self._door.schedules().CreateSchedule(request, timeout=_CALL_S)
            )
            await asyncio.sleep(self._rng.random() * 0.1)

    async def counts(self) -> TickCounts:
        """Wait until no schedule is behind, pause all, and count."""
        await self._until_even()
        for schedule in await self.listed():
            request = schedule_pb2.PauseScheduleRequest(name=schedule.name)
            await answered(
                lambda request=request: self._door.schedules().PauseSchedule(request, timeout=_CALL_S)
            )
        await self._until(lambda schedule: not schedule.HasField("pending_time"))
        found = await self.listed()
        if len(found) < self._count:
            # The store has lost schedules: at least a tick of each.
            return TickCounts(0, 0, self._count - len(found))
        ticks = [task for task in await all_tasks(self._door) if task.request_id.startswith(TICK)]
        return judged(found, ticks)

    async def listed(self) -> Sequence[schedule_pb2.Schedule]:
        request = schedule_pb2.ListSchedulesRequest(page_size=1000)
        answer = await answered(lambda: self._door.schedules().ListSchedules(request, timeout=_CALL_S))
        found: Sequence[schedule_pb2.Schedule] = answer.schedules
        return found

    async def _until_even(self) -> None:
        def even(schedule: schedule_pb2.Schedule) -> bool:
            behind_s = time.time() - seconds(schedule.next_submit_time)
            return not schedule.HasField("pending_time") and behind_s < 0.5

        await self._until(even)

    async def _until(self, holds: Callable[[schedule_pb2.Schedule], bool]) -> None:
        ends_at = time.monotonic() + PATIENCE_S
        while not all(map(holds, await self.listed())):
            assert time.monotonic() < ends_at, "a schedule is behind, or its tick stays pending"
            await asyncio.sleep(_AGAIN_S)


def judged(schedules: Sequence[schedule_pb2.Schedule], tasks: Sequence[task_pb2.Task]) -> TickCounts:
    """Count, by the metadata that handlers get. Pure."""
    made: dict[str, Counter[str]] = defaultdict(Counter)
    for task in tasks:
        metadata = {entry.key: entry.value.decode() for entry in task.options.context.metadata}
        made[metadata["schedule-name"]][metadata["schedule-time"]] += 1
    ticks = double = lost = 0
    for schedule in schedules:
        mine = made[schedule.name]
        ticks += len(mine)
        double += sum(each - 1 for each in mine.values())
        lost += schedule.missed_count + abs(schedule.submitted_count - len(mine))
        # Every tick from the creation up to the last one that came.
        timing, tick = timing_of(schedule), timing_of(schedule).next_after(seconds(schedule.create_time))
        last = max(mine, default="")
        while tick is not None and (name := timestamp(tick).ToJsonString()) <= last:
            lost += name not in mine
            tick = timing.next_after(tick)
    return TickCounts(ticks, double, lost)
