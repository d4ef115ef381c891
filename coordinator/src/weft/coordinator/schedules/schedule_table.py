"""Schedules as rows of the store's table: read, and changed by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from weft.coordinator.schedules.schedule_codec import KIND, next_tick_of, timing_of
from weft.coordinator.schedules.schedule_rules import look_again_at
from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import (
    RowConflict,
    RowDelete,
    RowPut,
    TableRow,
    TooManyRows,
    every_row,
)
from weft.rpc import refusals
from weft.rpc.times import seconds
from weft.v1 import schedule_pb2

# After so long, a tick whose task is not known to be submitted is taken up by any coordinator.
TAKEN_UP_S = 2.0
KEEP_ENDED_S = 7 * 86400.0
# How often a change is tried when others change the schedule at the same time.
_TRIES = 8

Change = Callable[[schedule_pb2.Schedule], bool]


def schedule_of(row: TableRow) -> schedule_pb2.Schedule:
    return schedule_pb2.Schedule.FromString(row.value)


def row_put(
    schedule: schedule_pb2.Schedule, expected: int | None, now: float, *, waits: bool = False
) -> RowPut:
    """The row of a schedule, due when a coordinator must look at it.

    Args:
        waits: its next tick has come, and waits for an earlier task.
    """
    value = schedule.SerializeToString()
    return RowPut(KIND, schedule.name, value, _due_at(schedule, now, waits=waits), expected)


def _due_at(schedule: schedule_pb2.Schedule, now: float, *, waits: bool) -> float | None:
    if schedule.HasField("pending_time"):
        return now + TAKEN_UP_S
    if schedule.HasField("ended_time"):
        return seconds(schedule.ended_time) + KEEP_ENDED_S
    tick = next_tick_of(schedule)
    if tick is None:
        return None
    timing = timing_of(schedule)
    return look_again_at(timing, tick, now) if waits else timing.submit_at(tick)


class ScheduleTable:
    """The schedules of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read(self, name: str) -> tuple[schedule_pb2.Schedule, int]:
        """A schedule and its row's revision.

        Raises:
            NotFound: SCHEDULE_NOT_FOUND.
        """
        (row,) = await self._store.get_rows(KIND, [name])
        if row is None:
            raise refusals.schedule_not_found(name)
        return schedule_of(row), row.revision

    async def create(self, schedule: schedule_pb2.Schedule) -> schedule_pb2.Schedule | None:
        """Store a new schedule; returns the one that has its name already, if there is one.

        Raises:
            Overloaded: there are too many schedules.
        """
        for _ in range(_TRIES):
            (result,) = await self._store.put_rows([row_put(schedule, 0, self._store.now())])
            if isinstance(result, TooManyRows):
                raise refusals.overloaded(
                    f"there are {result.limit} schedules, the most that are allowed: delete some"
                )
            if not isinstance(result, RowConflict):
                return None
            (row,) = await self._store.get_rows(KIND, [schedule.name])
            if row is not None:
                return schedule_of(row)
        raise _contended(schedule.name)

    async def change(self, name: str, change: Change) -> schedule_pb2.Schedule:
        """Change a schedule; returns it as it is then.

        Args:
            change: changes the given schedule; false: nothing is to be changed. May be called several times.

        Raises:
            NotFound: SCHEDULE_NOT_FOUND.
            Overloaded: others change it at the same time, again and again.
        """
        for _ in range(_TRIES):
            schedule, revision = await self.read(name)
            if not change(schedule):
                return schedule
            (result,) = await self._store.put_rows([row_put(schedule, revision, self._store.now())])
            if not isinstance(result, RowConflict | TooManyRows):
                return schedule
        raise _contended(name)

    async def delete(self, name: str) -> None:
        """Delete a schedule.

        Raises:
            NotFound: SCHEDULE_NOT_FOUND.
        """
        if (await self._store.delete_rows([RowDelete(KIND, name)]))[0] is not True:
            raise refusals.schedule_not_found(name)

    async def page(self, limit: int, cursor: str) -> tuple[Sequence[schedule_pb2.Schedule], str]:
        """Some schedules by name, and the cursor of the next page."""
        page = await self._store.list_rows(KIND, limit=limit, cursor=cursor)
        return [schedule_of(row) for row in page.rows], page.cursor

    async def methods(self) -> set[str]:
        """The methods that schedules call."""
        return {schedule_of(row).spec.method async for row in every_row(self._store, KIND)}


def _contended(name: str) -> Exception:
    return refusals.overloaded(
        f"others change schedule {name!r} at the same time; try again", retry_after_s=0.5
    )
