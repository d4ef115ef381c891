"""One pass over the schedules whose time has come: decide their ticks, and submit the tasks.

    due rows ─► decide (rules) ─► row: next tick, this one pending ─► submit, by the tick's request id ─► row: nothing pending
                                  compare-and-set: one pass decides   repeats are one task

A coordinator that dies between these steps leaves the tick pending, and so does one whose store does not take the task now. Its
row is due again soon: the pass that changes it first goes on from there. Request ids are kept for longer than pending ticks are
submitted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from weft.coordinator.calls.submission import SubmissionService, accepted
from weft.coordinator.identity.makers import Makers
from weft.coordinator.schedules.schedule_codec import (
    KIND,
    next_tick_of,
    note_tick,
    overlap_of,
    set_next_tick,
    tick_request,
    timing_of,
    window_of,
)
from weft.coordinator.schedules.schedule_rules import LEAST_WINDOW_S, Decision, Fate, Overlap, decide
from weft.coordinator.schedules.schedule_table import ScheduleTable, row_put, schedule_of
from weft.coordinator.schedules.tick_times import rounded
from weft.coordinator.store.base import Store
from weft.coordinator.store.paging import ListFilter
from weft.coordinator.store.records import Submission, TaskRecord
from weft.coordinator.store.rules import REQUEST_ID_TTL_S
from weft.coordinator.store.table_store import RowDelete, RowPut, TableRow
from weft.rpc.errors import AlreadyExists, NotFound, RetryLater, Unavailable, WeftError
from weft.rpc.process.logs import get_logger
from weft.rpc.times import seconds, timestamp
from weft.v1 import schedule_pb2

log = get_logger(__name__)

# Schedules of one pass.
PASS_SCHEDULES = 64
# A row that cannot be read is left alone for so long.
_UNREADABLE_S = 3600.0
# A pending tick is given up so long before its request id may be forgotten.
_MARGIN_S = 3600.0
# A task may have been created so long before its tick, by a clock that was set meanwhile.
_CLOCKS_APART_S = 7200.0


@dataclass(slots=True)
class PendingTick:
    """A tick whose task is to be submitted, with its schedule and the revision of that row."""

    schedule: schedule_pb2.Schedule
    revision: int
    # An earlier pass left it, and may have submitted its task.
    taken_up: bool = False
    # None: unknown, another pass tries again.
    fate: Fate | None = None
    task_id: str = ""
    reason: str = ""

    @property
    def time(self) -> float:
        return rounded(seconds(self.schedule.pending_time))

    @property
    def request_id_ttl_s(self) -> float:
        """How long the request id is kept, from the submission on."""
        return max(window_of(self.schedule.spec), LEAST_WINDOW_S) + REQUEST_ID_TTL_S

    def late_s(self, now: float) -> float:
        return now - timing_of(self.schedule).submit_at(self.time)

    def settle(self, schedule: schedule_pb2.Schedule) -> bool:
        """Note what became of the tick. False: this is another schedule, or the tick is noted already."""
        pending = schedule.HasField("pending_time") and rounded(seconds(schedule.pending_time))
        if schedule.uid != self.schedule.uid or pending != self.time or self.fate is None:
            return False
        time = self.time
        schedule.ClearField("pending_time")
        note_tick(schedule, time, self.fate, task_id=self.task_id, reason=self.reason)
        return True


class TickPass:
    """Runs passes over the schedules of a store.

    Args:
        makers: judges who made them. None: nobody asks.
    """

    def __init__(
        self,
        store: Store,
        submissions: SubmissionService,
        cancel_grace_s: float,
        makers: Makers | None = None,
    ) -> None:
        self._store = store
        self._makers = makers
        self._table = ScheduleTable(store)
        self._submissions = submissions
        self._cancel_grace_s = cancel_grace_s

    async def run(self) -> float | None:
        """One pass; returns when the next one is due, by the store's clock. None: not until schedules change."""
        due = await self._store.due_rows(KIND, PASS_SCHEDULES)
        if not due.rows:
            return due.next_at
        pending = await self._decide(await self._readable(due.rows, due.now), due.now)
        await self._submit(pending, due.now)
        for tick in pending:
            if tick.fate is Fate.REFUSED and tick.taken_up:
                await self._look_up(tick)
        await self._settle([tick for tick in pending if tick.fate is not None], due.now)
        return due.now

    async def _readable(
        self, rows: Sequence[TableRow], now: float
    ) -> list[tuple[TableRow, schedule_pb2.Schedule]]:
        """The schedules of rows. One that cannot be read keeps no other from its ticks."""
        found: list[tuple[TableRow, schedule_pb2.Schedule]] = []
        for row in rows:
            try:
                found.append((row, schedule_of(row)))
            except DecodeError:
                log.error("schedule.unreadable", schedule=row.key)  # noqa: TRY400
                later = RowPut(KIND, row.key, row.value, now + _UNREADABLE_S, row.revision)
                await self._store.put_rows([later])
        return found

    # -- decide ---------------------------------------------------------------------------------------------------

    async def _decide(
        self, due: Sequence[tuple[TableRow, schedule_pb2.Schedule]], now: float
    ) -> list[PendingTick]:
        """Decide the ticks of due schedules. Returns the pending ones: decided here, or left by an earlier pass."""
        changed: list[tuple[PendingTick, RowPut]] = []
        ended: list[RowDelete] = []
        running = await self._running([schedule for _, schedule in due])
        for row, schedule in due:
            taken_up, waits = schedule.HasField("pending_time"), False
            if not taken_up and schedule.HasField("ended_time"):
                ended.append(RowDelete(KIND, row.key, row.revision))
                continue
            if not taken_up:
                waits = _apply(schedule, now, running).waits
                if waits:
                    await self._cancel_running(schedule, running)
            # Also for a tick that is taken up: the row must not stay due while the tick cannot be submitted.
            put = row_put(schedule, row.revision, now, waits=waits)
            changed.append((PendingTick(schedule, row.revision, taken_up), put))
        if ended:
            await self._store.delete_rows(ended)
        pending: list[PendingTick] = []
        results = await self._store.put_rows([put for _, put in changed]) if changed else ()
        for (tick, _), result in zip(changed, results, strict=True):
            # Otherwise somebody else has decided or taken it up, or changed the schedule.
            if isinstance(result, int) and tick.schedule.HasField("pending_time"):
                tick.revision = result
                pending.append(tick)
        return pending

    async def _running(self, schedules: Sequence[schedule_pb2.Schedule]) -> dict[str, TaskRecord]:
        """The tasks of these schedules that have not ended, of those with a policy that heeds them."""
        ids = [
            task_id
            for schedule in schedules
            if overlap_of(schedule.spec) is not Overlap.ALLOW and not schedule.HasField("pending_time")
            for task_id in schedule.unfinished_task_ids
        ]
        records = await self._store.get(ids, payloads=False) if ids else ()
        return {
            record.task_id: record for record in records if record is not None and not record.state.terminal
        }

    async def _cancel_running(self, schedule: schedule_pb2.Schedule, running: dict[str, TaskRecord]) -> None:
        if overlap_of(schedule.spec) is Overlap.CANCEL:
            ids = [each for each in schedule.unfinished_task_ids if not running[each].cancel_requested]
            reason = f"the next tick of schedule {schedule.name} has come"
            await self._store.cancel(ids, reason, self._cancel_grace_s)

    # -- submit ---------------------------------------------------------------------------------------------------

    async def _submit(self, pending: Sequence[PendingTick], now: float) -> None:
        """Submit the tasks of pending ticks, and note what became of each."""
        checked: list[tuple[PendingTick, Submission]] = []
        for tick in pending:
            if tick.late_s(now) > tick.request_id_ttl_s - _MARGIN_S:
                tick.fate = Fate.MISSED
                tick.reason = (
                    "no coordinator ran for so long that it is not known whether its task was submitted"
                )
                continue
            try:
                if self._makers is not None:
                    await self._makers.check(tick.schedule.maker, tick.schedule.spec.method)
                submission = self._submissions.check(tick_request(tick.schedule, tick.time), own_id=True)
            except WeftError as error:
                self._refused(tick, error, now)
            else:
                submission.request_id_ttl_s = tick.request_id_ttl_s
                checked.append((tick, submission))
        if not checked:
            return
        try:
            results = await self._submissions.store([submission for _, submission in checked])
        except WeftError as error:
            for tick, _ in checked:
                self._refused(tick, error, now)
            return
        for (tick, submission), result in zip(checked, results, strict=True):
            try:
                tick.fate, tick.task_id = Fate.SUBMITTED, accepted(result, submission.request_id).task_id
            except AlreadyExists as error:
                # An earlier pass submitted it, before the spec was replaced.
                tick.fate, tick.task_id = Fate.SUBMITTED, error.metadata["task_id"]
            except WeftError as error:
                tick.fate = None
                self._refused(tick, error, now)

    def _refused(self, tick: PendingTick, error: WeftError, now: float) -> None:
        """A tick's task was refused: for good, or for as long as the catch-up window. If the store is unavailable, it may have
        the task."""
        in_time = tick.late_s(now) <= max(window_of(tick.schedule.spec), LEAST_WINDOW_S)
        if isinstance(error, Unavailable) or (isinstance(error, RetryLater) and in_time):
            return
        tick.fate, tick.reason = Fate.REFUSED, error.message
        log.warning("schedule.tick_refused", schedule=tick.schedule.name, error=error.message)

    async def _look_up(self, tick: PendingTick) -> None:
        """A tick is refused now. An earlier pass may have submitted it: find that task."""
        where = ListFilter(
            request_id=tick_request(tick.schedule, tick.time).request_id,
            created_from=tick.time - _CLOCKS_APART_S,
        )
        cursor = ""
        while True:
            page = await self._store.list_tasks(where, limit=1, cursor=cursor)
            if page.records:
                tick.fate, tick.task_id, tick.reason = Fate.SUBMITTED, page.records[0].task_id, ""
                return
            cursor = page.cursor
            if not cursor:
                return

    async def _settle(self, ticks: Sequence[PendingTick], now: float) -> None:
        """Note in the rows what became of ticks."""
        puts = []
        for tick in ticks:
            settled = schedule_pb2.Schedule()
            settled.CopyFrom(tick.schedule)
            tick.settle(settled)
            puts.append(row_put(settled, tick.revision, now))
        results = await self._store.put_rows(puts) if puts else ()
        for tick, result in zip(ticks, results, strict=True):
            if not isinstance(result, int):
                # The schedule was paused, or another spec set, meanwhile; or another pass was quicker.
                try:
                    await self._table.change(tick.schedule.name, tick.settle)
                except NotFound:
                    continue


def _apply(schedule: schedule_pb2.Schedule, now: float, running: dict[str, TaskRecord]) -> Decision:
    """Decide the ticks of a schedule up to now, and note the decision in it."""
    spec, timing = schedule.spec, timing_of(schedule)
    overlap = overlap_of(spec)
    if overlap is not Overlap.ALLOW:
        left = [each for each in schedule.unfinished_task_ids if each in running]
        del schedule.unfinished_task_ids[:]
        schedule.unfinished_task_ids.extend(left)
    decision = decide(
        timing,
        overlap,
        window_of(spec),
        next_tick_of(schedule),
        now,
        busy=bool(schedule.unfinished_task_ids),
    )
    for tick, fate in decision.passed:
        note_tick(schedule, tick, fate)
    set_next_tick(schedule, timing, decision.next_tick, now)
    if decision.submit is not None:
        schedule.pending_time.CopyFrom(timestamp(decision.submit))
    return decision
