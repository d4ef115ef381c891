"""A group of changes that become durable together: collected on the event loop, written in one transaction.

Changes are collected by kind. They are written in an order that is right for each task: stored before changed, ended last.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from weft.coordinator.store.embedded.rows import (
    ENDS,
    LIVE,
    MAX_ROWS,
    NEW_LIVE,
    PROGRESS,
    STATES,
    TASKS,
    RequestIdentity,
    Writer,
    end_row,
    live_row,
    task_row,
    within,
)
from weft.coordinator.store.embedded.unfinished_task import UnfinishedTask
from weft.coordinator.store.records import ProgressRow
from weft.coordinator.store.state_store import REMOVED_AT_ONCE, StoredState
from weft.coordinator.store.task_ids import parse_id

_REMOVE_ENDED = "DELETE FROM states WHERE name IN (SELECT name FROM states WHERE expires_at <= ? LIMIT ?)"
# A function that runs on the writer's connection, inside the group's transaction.
Job = Callable[[sqlite3.Connection], Any]


class CommitGroup:
    """Changes, and the futures of their waiting callers. A method adds each kind of change."""

    __slots__ = (
        "changed",
        "ended",
        "ends",
        "jobs",
        "live",
        "new",
        "progress",
        "reopened",
        "replaced",
        "retries",
        "rows",
        "size_bytes",
        "statements",
        "states",
        "streamed",
        "submitters",
        "task_rows",
        "waiters",
    )

    def __init__(self) -> None:
        self.new: list[UnfinishedTask] = []
        self.task_rows: list[Any] = []
        # Numbers of tasks whose `live` row another change than their creation writes or removes.
        self.changed: set[int] = set()
        self.reopened: list[int] = []
        # Tasks that wait for another attempt.
        self.retries: list[UnfinishedTask] = []
        self.live: list[Any] = []
        self.ended: list[UnfinishedTask] = []
        self.ends: list[Any] = []
        self.streamed: list[tuple[UnfinishedTask, ProgressRow]] = []
        self.progress: list[Any] = []
        self.statements: list[tuple[str, Sequence[Any]]] = []
        # By name, as they are after the group; of version 0: deleted.
        self.states: dict[str, StoredState] = {}
        # What other tasks have left before those, in order: what stays if the later task is refused.
        self.replaced: list[StoredState] = []
        self.jobs: list[tuple[Job, asyncio.Future[Any]]] = []
        # Told of a failed write at once: their tasks are refused.
        self.submitters: list[asyncio.Future[None]] = []
        # Wait until the group is written, also after failures. Each with its start.
        self.waiters: list[tuple[asyncio.Future[None], float]] = []
        self.rows = 0
        self.size_bytes = 0

    def add_task(self, task: UnfinishedTask, identity: RequestIdentity | None) -> None:
        self.new.append(task)
        self.task_rows += task_row(task, identity)
        self.rows += 1
        self.size_bytes += task.size_bytes

    def add_live(self, task: UnfinishedTask) -> None:
        self.changed.add(task.number)
        self.live += live_row(task)
        self.rows += 1
        self.size_bytes += len(task.outcome)

    def add_retry(self, task: UnfinishedTask) -> None:
        self.retries.append(task)
        self.add_live(task)

    def add_end(self, task: UnfinishedTask) -> None:
        assert task.end is not None
        self.changed.add(task.number)
        self.ended.append(task)
        self.ends += end_row(task)
        self.rows += 1
        self.size_bytes += len(task.end.outcome)

    def add_reopened(self, task: UnfinishedTask) -> None:
        self.reopened.append(task.number)
        self.add_live(task)

    def add_progress(self, task: UnfinishedTask, row: ProgressRow, index: int) -> None:
        self.streamed.append((task, row))
        self.progress += (task.number, row.sequence, row.attempt, index, row.payload, row.headers)
        self.rows += 1
        self.size_bytes += len(row.payload)

    def add_statement(self, text: str, values: Sequence[Any]) -> None:
        self.statements.append((text, values))
        self.rows += 1

    def add_state(self, state: StoredState) -> None:
        before = self.states.get(state.name)
        if before is None:
            self.rows += 1
        elif before.task_id != state.task_id:
            self.replaced.append(before)
        self.states[state.name] = state
        self.size_bytes += len(state.value)

    @property
    def empty(self) -> bool:
        return not self.rows and not self.jobs

    def write(self, connection: sqlite3.Connection) -> list[Any]:
        """Write everything in one transaction, all or nothing. Returns the results of the jobs."""
        steps = list(self._steps())
        if len(steps) == 1 and not self.jobs:
            # A statement alone is its own transaction: two steps fewer.
            connection.execute(*steps[0])
            return []
        connection.execute("BEGIN IMMEDIATE")
        try:
            for text, values in steps:
                connection.execute(text, values)
            results = [job(connection) for job, _ in self.jobs]
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return results

    def _steps(self) -> Iterator[tuple[str, Sequence[Any]]]:
        yield from TASKS.statements(self.task_rows)
        # Some change the row of a task.
        yield from self.statements
        yield from NEW_LIVE.statements([task.number for task in self.new if task.number not in self.changed])
        for at in range(0, len(self.reopened), MAX_ROWS):
            yield within("DELETE FROM ends WHERE id IN {}", self.reopened[at : at + MAX_ROWS])
        yield from LIVE.statements(self.live)
        yield from PROGRESS.statements(self.progress)
        yield from ENDS.statements(self.ends)
        if self.states:
            yield from _state_steps(self.states.values())

    def without_tasks(self, later: CommitGroup) -> tuple[CommitGroup, list[UnfinishedTask]]:
        """After a failed write: the changes of this group and of `later` that must be written all the same, and the refused
        tasks. New tasks are refused, with all their changes. Jobs are not retried.
        """
        refused = [*self.new, *later.new]
        gone = {task.number for task in refused}
        rest = CommitGroup()
        for group in (self, later):
            rest.reopened += group.reopened
            rest.retries += [task for task in group.retries if task.number not in gone]
            rest.live += _kept(LIVE, group.live, gone)
            rest.ends += _kept(ENDS, group.ends, gone)
            rest.ended += [task for task in group.ended if task.number not in gone]
            rest.progress += _kept(PROGRESS, group.progress, gone)
            rest.streamed += [item for item in group.streamed if item[0].number not in gone]
            rest.statements += group.statements
            rest.states |= {
                each.name: each
                for each in (*group.replaced, *group.states.values())
                if parse_id(each.task_id) not in gone
            }
            rest.waiters += group.waiters
            rest.size_bytes += group.size_bytes
        rest.rows = (
            len(rest.statements)
            + len(rest.states)
            + len(rest.reopened)
            + len(rest.live) // LIVE.width
            + len(rest.progress) // PROGRESS.width
            + len(rest.ends) // ENDS.width
        )
        return rest, refused


def _state_steps(states: Collection[StoredState]) -> Iterator[tuple[str, Sequence[Any]]]:
    flat: list[Any] = []
    gone: list[str] = []
    ends = False
    for each in states:
        if each.version:
            flat += (
                each.name,
                each.version,
                each.type,
                each.updated_at,
                each.expires_at,
                each.task_id,
                each.value,
            )
            ends = ends or each.expires_at is not None
        else:
            gone.append(each.name)
    yield from STATES.statements(flat)
    for at in range(0, len(gone), MAX_ROWS):
        yield within("DELETE FROM states WHERE name IN {}", gone[at : at + MAX_ROWS])
    if ends:
        # Those that have ended make room for those that will.
        now = max(each.updated_at for each in states)
        yield _REMOVE_ENDED, (now, REMOVED_AT_ONCE)


def _kept(writer: Writer, flat: list[Any], gone: set[int]) -> list[Any]:
    width = writer.width
    return [
        value for at in range(0, len(flat), width) if flat[at] not in gone for value in flat[at : at + width]
    ]
