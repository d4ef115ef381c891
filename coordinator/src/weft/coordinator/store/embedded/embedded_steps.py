"""The embedded store's steps: rows in the file alone. A record is a job of the journal, which looks for its name and writes it in one
transaction; memory has the counts of an unfinished task."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from weft.coordinator.store.embedded.core import ReaderPool
from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.embedded.request_ids import RequestIds
from weft.coordinator.store.embedded.suspending import wake, wake_for_call
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.embedded.unfinished_task import StepState, UnfinishedTask
from weft.coordinator.store.records import AttemptReport
from weft.coordinator.store.remembered import parent_of
from weft.coordinator.store.rules import State
from weft.coordinator.store.step_store import (
    MAX_STEPS,
    MAX_STEPS_BYTES,
    PAGE_BYTES,
    SIGNALS,
    AttemptFence,
    NewSignal,
    NewStep,
    RecordKind,
    StepAnswer,
    StepRecord,
    StepRefusal,
    counts_of,
)
from weft.coordinator.store.task_ids import parse_id
from weft.rpc.task_policy.option_checks import STEP_ID

_SELECT = "SELECT sequence, name, kind, value, attempt, recorded_at, wake_at FROM steps"
_PREFIX_CHARS = len(STEP_ID)
_INSERT = (
    "INSERT INTO steps (task_id, sequence, name, kind, value, attempt, recorded_at, wake_at, signal_id)"
    " VALUES (?, (SELECT coalesce(max(sequence), 0) + 1 FROM steps WHERE task_id = ?), ?, ?, ?, ?, ?, ?, ?)"
)


class EmbeddedSteps:
    """The steps' part of an embedded store; `EmbeddedStore` makes the parts."""

    _clock: Callable[[], float]
    _table: TaskTable
    _journal: Journal
    _readers: ReaderPool
    _requests: RequestIds
    max_steps = MAX_STEPS
    max_steps_bytes = MAX_STEPS_BYTES

    async def record_step(self, fence: AttemptFence, step: NewStep) -> StepAnswer | StepRefusal:
        self._journal.check_writable()
        task = self._unfinished(fence.task_id)
        if (
            task is None
            or task.state is not State.RUNNING
            or task.attempt != fence.attempt
            or (fence.agent_id and (task.owner is None or task.owner.agent_id != fence.agent_id))
        ):
            return StepRefusal.OVER
        now = self._clock()
        wake_at = None if step.delay_s is None else now + step.delay_s
        row = (step.name, step.kind, step.value, fence.attempt, now, wake_at, None)
        return await self._write_step(task, partial(_record_step, task.number, row), len(step.value))

    async def send_signal(self, task_id: str, signal: NewSignal) -> StepAnswer | StepRefusal:
        self._journal.check_writable()
        task = self._unfinished(task_id)
        if task is None:
            return StepRefusal.OVER
        now = self._clock()
        recorded = await self._write_step(
            task, partial(_record_signal, task.number, signal, now), len(signal.value)
        )
        if isinstance(recorded, StepAnswer) and not recorded.existed and task.steps is not None:
            task.steps.signals += 1
            wake(self._table, task, task.steps.signals, now)
        return recorded

    def adopt_steps(self, task: UnfinishedTask, steps: Sequence[StepRecord]) -> None:
        """Store what a new task has recorded elsewhere, together with it."""
        task.steps = StepState(*counts_of(steps))
        for step in steps:
            row = (step.name, step.kind, step.value, step.attempt, step.recorded_at, step.wake_at, None)
            self._journal.add_statement(_INSERT, task.number, task.number, *row)

    async def list_steps(self, task_id: str, after: int, limit: int) -> Sequence[StepRecord]:
        number = parse_id(task_id)
        if number is None:
            return []
        rows = await self._readers.read(lambda reader: reader.steps(number, after, limit), rows=limit)
        found: list[StepRecord] = []
        room_bytes = PAGE_BYTES
        for row in rows:
            room_bytes -= len(row[3])
            if found and room_bytes < 0:
                break
            found.append(step_of(row))
        return found

    def settled_calls(self, report: AttemptReport, now: float) -> AttemptReport:
        """A report of a handler that waits for calls: if one of them has ended, it goes on now."""
        until = report.suspension
        if until is None or not until.calls:
            return report
        known = self._requests.numbers(until.calls)
        if all(known.get(request_id) in self._table.tasks for request_id in until.calls):
            return report
        return replace(report, suspension=until._replace(wake_at=now))

    def wake_parents(self, ended: Sequence[UnfinishedTask]) -> None:
        """Tasks have ended: their parents may wait for them."""
        for task in ended:
            # No function is called for most tasks.
            if task.request_id[:_PREFIX_CHARS] == STEP_ID:
                parent = self._unfinished(parent_of(task.request_id))
                if parent is not None:
                    wake_for_call(self._table, parent, task.request_id, self._clock())

    def _unfinished(self, task_id: str) -> UnfinishedTask | None:
        number = parse_id(task_id)
        task = None if number is None else self._table.tasks.get(number)
        return None if task is None or task.end is not None else task

    async def _write_step(
        self,
        task: UnfinishedTask,
        write: Callable[..., tuple[StepRecord, bool] | None],
        size_bytes: int,
    ) -> StepAnswer | StepRefusal:
        """Write a record, and count it."""
        counts = task.steps or StepState()
        full = counts.count >= self.max_steps or counts.size_bytes + size_bytes > self.max_steps_bytes
        found: tuple[StepRecord, bool] | None = await self._journal.run(partial(write, full=full))
        if found is None:
            return StepRefusal.LIMIT
        step, existed = found
        if not existed:
            if task.steps is None:
                task.steps = StepState()
            task.steps.count += 1
            task.steps.size_bytes += len(step.value)
        return StepAnswer(step, existed)


def step_of(row: tuple[int, str, int, bytes, int, float, float | None]) -> StepRecord:
    """A record from its row, with the columns of `_SELECT`."""
    sequence, name, kind, value, attempt, recorded_at, wake_at = row
    return StepRecord(sequence, name, RecordKind(kind), value, attempt, recorded_at, wake_at)


Row = tuple[str, int, bytes, int, float, float | None, str | None]


def _record_step(
    number: int, row: Row, connection: sqlite3.Connection, *, full: bool
) -> tuple[StepRecord, bool] | None:
    if (known := _named(connection, number, row[0])) is not None:
        return known, True
    return None if full else (_insert(connection, number, row), False)


def _record_signal(
    number: int, signal: NewSignal, now: float, connection: sqlite3.Connection, *, full: bool
) -> tuple[StepRecord, bool] | None:
    # The signals of a name are in a range of names: '$' follows '#'.
    name = f"{SIGNALS}{signal.name}"
    within = (number, f"{name}#", f"{name}$")
    if signal.signal_id:
        known = connection.execute(
            f"{_SELECT} WHERE task_id = ? AND name >= ? AND name < ? AND signal_id = ?",
            (*within, signal.signal_id),
        ).fetchone()
        if known is not None:
            return step_of(known), True
    if full:
        return None
    (count,) = connection.execute(
        "SELECT count(*) FROM steps WHERE task_id = ? AND name >= ? AND name < ?", within
    ).fetchone()
    row = (f"{name}#{count + 1}", RecordKind.SIGNAL, signal.value, 0, now, None, signal.signal_id or None)
    return _insert(connection, number, row), False


def _insert(connection: sqlite3.Connection, number: int, row: Row) -> StepRecord:
    connection.execute(_INSERT, (number, number, *row))
    record = _named(connection, number, row[0])
    assert record is not None
    return record


def _named(connection: sqlite3.Connection, number: int, name: str) -> StepRecord | None:
    row = connection.execute(f"{_SELECT} WHERE task_id = ? AND name = ?", (number, name)).fetchone()
    return None if row is None else step_of(row)
