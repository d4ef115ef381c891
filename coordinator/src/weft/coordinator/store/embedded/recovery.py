"""After a restart: unfinished tasks come back from the file, and tasks that may be running are held back.

Claims are not journaled. A task that waits by the file may be running at an agent of the last coordinator. The recovery
barrier holds such tasks back until every one of these agents has come back and named its held attempts, or a grace has
passed. Then the tasks that nobody named are queued. Their unreported attempts are forgotten, and the numbers are used again
in another epoch. No crash is counted: it is unknown whether the attempts ever started.
"""

from __future__ import annotations

import gc
import json
import sqlite3
from collections import deque
from collections.abc import Collection, Iterator

from weft.coordinator.store.embedded.agent_table import AgentTable
from weft.coordinator.store.embedded.stored_alternatives import decode as decode_alternatives
from weft.coordinator.store.embedded.suspending import waits_for_signals
from weft.coordinator.store.embedded.task_spec import split_options
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.embedded.unfinished_task import (
    NEVER,
    Cancellation,
    PastAttempts,
    Saved,
    StepState,
    StreamState,
    TaskLimits,
    UnfinishedTask,
)
from weft.coordinator.store.history import decode as decode_history
from weft.coordinator.store.history import suspension
from weft.coordinator.store.records import Owner
from weft.coordinator.store.remembered import request_id_of
from weft.coordinator.store.rules import State
from weft.coordinator.store.step_store import RecordKind
from weft.coordinator.store.task_ids import format_id, request_key

# Tasks released at a time, so that a million tasks do not block the event loop.
RELEASE_TASKS = 4096


class RecoveryBarrier:
    """Holds recovered tasks back until all agents have come back, or a time has passed."""

    def __init__(
        self, table: TaskTable, agents: AgentTable, tasks: Collection[UnfinishedTask], ends_at: float
    ) -> None:
        self._table = table
        self._agents = agents
        self._tasks = deque(tasks)
        self._waiting_for = agents.connected()
        self._ends_at = ends_at

    def returned(self, agent_id: str) -> None:
        """An agent has named its held attempts, or has left."""
        self._waiting_for.pop(agent_id, None)

    def release(self, now: float) -> list[Owner]:
        """If the wait is over, release a portion of the tasks. Returns the sessions of agents that did not come back."""
        if not self.over(now):
            return []
        self._table.gates.recovery_over()
        missing = list(self._waiting_for.values())
        self._waiting_for.clear()
        for owner in missing:
            self._agents.ended(owner, left=False)
        if self._tasks:
            count = min(RELEASE_TASKS, len(self._tasks))
            self._table.make_claimable([self._tasks.popleft() for _ in range(count)], now)
        return missing

    def next_at(self, now: float) -> float:
        if self.over(now):
            return now if self._tasks else NEVER
        return self._ends_at

    def over(self, now: float) -> bool:
        """Whether no agent is waited for."""
        return not self._waiting_for or now >= self._ends_at


def recover(
    connection: sqlite3.Connection, table: TaskTable, now: float, *, attempts_may_run: bool
) -> list[UnfinishedTask]:
    """Put every unfinished task into the table. Returns the tasks that are held back, oldest first.

    Args:
        attempts_may_run: some agent may still hold attempts.
    """
    held_back = []
    table.groups.recover(connection, now)
    # The collector would scan a million new objects again and again, and none of them is garbage.
    collecting = gc.isenabled()
    gc.disable()
    try:
        recorded = _recorded_steps(connection)
        for task in _unfinished(connection, table, now):
            if (steps := recorded.get(task.number)) is not None:
                task.steps = steps
                if waits_for_signals(task, steps.signals):
                    # The signal came in the last moment before the restart.
                    task.ready_at = min(task.ready_at, now)
            if task.ready_at > now and _call_has_ended(connection, task):
                task.ready_at = now
            scheduled = task.ready_at > now
            if not scheduled and attempts_may_run:
                task.held_back = True
                held_back.append(task)
            table.place(task, State.SCHEDULED if scheduled else State.QUEUED, now)
            if task.cancel is not None and not task.held_back:
                table.end_cancelled(task, task.cancel.reason, now)
    finally:
        if collecting:
            gc.enable()
    streams = connection.execute(
        "SELECT progress.task_id, max(progress.sequence), progress.attempt, progress.position,"
        " sum(length(progress.payload) + length(progress.headers)) FROM live"
        " CROSS JOIN progress ON progress.task_id = live.id GROUP BY task_id"
    )
    for number, count, attempt, position, size_bytes in streams:
        table.tasks[number].stream = StreamState(count, attempt, position, size_bytes)
    table.groups.recovered(now)
    return held_back


def _call_has_ended(connection: sqlite3.Connection, task: UnfinishedTask) -> bool:
    """Whether a remembered call that a task waits for has ended, perhaps in the last moment before the restart."""
    until = suspension(task.history[-1]) if task.history else None
    if until is None:
        return False
    for name in until.calls:
        request_id = request_id_of(format_id(task.number), name)
        unfinished = connection.execute(
            "SELECT 1 FROM tasks t JOIN live l ON l.id = t.id WHERE t.request_key = ? AND t.request_id = ?",
            (request_key(request_id), request_id),
        ).fetchone()
        if unfinished is None:
            return True
    return False


def _recorded_steps(connection: sqlite3.Connection) -> dict[int, StepState]:
    rows = connection.execute(
        "SELECT steps.task_id, count(*), sum(length(steps.value)), sum(steps.kind = ?) FROM live"
        " CROSS JOIN steps ON steps.task_id = live.id GROUP BY steps.task_id",
        (RecordKind.SIGNAL,),
    )
    return {number: StepState(count, size_bytes, signals) for number, count, size_bytes, signals in rows}


def _unfinished(connection: sqlite3.Connection, table: TaskTable, now: float) -> Iterator[UnfinishedTask]:
    rows = connection.execute(
        "SELECT t.id, t.method, t.priority, t.created_at, t.delay_s, t.schedule_to_start_s,"
        " t.schedule_to_close_s, t.request_id, t.options, t.group_id,"
        " l.attempt, l.failures, l.crashes, l.ready_at, l.retried_at, l.fresh_attempt, l.cancel_reason,"
        " l.cancel_grace_s, l.agent_id, l.epoch, l.started_at, l.reported, l.outcome, l.history"
        " FROM live l JOIN tasks t ON t.id = l.id ORDER BY l.id"
    )
    for row in rows:
        number, method, priority, created_at, delay_s, to_start_s, to_close_s, request_id = row[:8]
        options, group_id, attempt, failures, crashes, ready_at, retried_at, fresh_attempt, reason = row[8:17]
        grace_s, agent_id, epoch, started_at, reported, outcome, history = row[17:]
        if ready_at is None:
            # The clock may have been set back: a task does not wait until it is that late again.
            ready_at = min(created_at, now) + (delay_s or 0.0)
        elif not ready_at:
            # The task was ready when its row was written.
            ready_at = min(created_at, now)
        options, demand, alternatives, submitter = split_options(options)
        spec = table.specs.stored(method, priority, options)
        if submitter:
            spec = table.specs.by(spec, json.loads(submitter))
        task = UnfinishedTask(number, spec, request_id or "", created_at, ready_at, None, None)
        task.saved = Saved.STORED
        if demand:
            task.demand = table.demands.stored(demand)
        if group_id is not None and (group := table.groups.by_id.get(group_id)) is not None:
            task.spec = table.specs.in_group(task.spec, group)
            group.members += 1
        fallbacks = decode_alternatives(alternatives) if alternatives else None
        task.attempt, task.failures, task.crashes = attempt, failures, crashes
        task.started_at, task.reported = started_at, bool(reported)
        if agent_id is not None:
            task.owner = Owner(agent_id, epoch)
            past = decode_history(history)
            waited = bool(past) and suspension(past[-1]) is not None
            if not waited and (fallbacks is None or fallbacks.since is None or attempt > fresh_attempt):
                # The last attempt was one at the present alternative.
                task.spec = table.specs.avoiding(task.spec, agent_id, task.demand)
        if delay_s is not None:
            task.limits = TaskLimits(
                delay_s, to_start_s, to_close_s, created_at, retried_at, fresh_attempt, fallbacks
            )
        if reason is not None:
            task.cancel = Cancellation(reason, grace_s, NEVER)
        if outcome is not None or history is not None:
            task.past = PastAttempts(outcome or b"", decode_history(history))
        yield task
