"""Groups in memory: their counts, which the tasks' moves change, and the changes that the file must have.

The file has the groups (`embedded_groups`), the group of each task, and how many forgotten tasks each has had. The counts of the
others are made from the tasks when the store is opened.
"""

from __future__ import annotations

import sqlite3
from asyncio import Future
from collections.abc import Callable, Mapping
from heapq import heappop, heappush

from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.embedded.task_group import TaskGroup
from weft.coordinator.store.group_store import (
    AT_END,
    GROUPS,
    GroupClosed,
    GroupFull,
    GroupRefusal,
    TooManyGroups,
    kept_until,
)
from weft.coordinator.store.rules import State

NEVER = AT_END
_FORGOTTEN = {State.SUCCEEDED: "succeeded", State.FAILED: "failed", State.CANCELLED: "cancelled"}
_END = "UPDATE groups SET ended_at = ?, due_at = CASE WHEN due_at = ? THEN ? ELSE due_at END WHERE id = ?"


class GroupTable:
    """The groups of a store. Large because it has a method for each thing that can happen to a group and its tasks.

    Args:
        changed: tells the listener that groups have changed.
    """

    def __init__(self, journal: Journal, changed: Callable[[str], None]) -> None:
        self._journal = journal
        self._changed = changed
        self.by_name: dict[str, TaskGroup] = {}
        self.by_id: dict[int, TaskGroup] = {}
        # When to look whether a group is still kept.
        self._looks: list[tuple[float, int]] = []
        self._announcing = False

    # -- tasks ----------------------------------------------------------------------------------------------------

    def refusal(self, name: str, most_groups: int, most_members: int) -> GroupRefusal | None:
        """Why a new task cannot join this group."""
        group = self.by_name.get(name)
        if group is None:
            return TooManyGroups(name, most_groups) if len(self.by_name) >= most_groups else None
        if group.closed:
            return GroupClosed(name)
        return GroupFull(name, most_members) if sum(group.counts) >= most_members else None

    def join(self, name: str, number: int, now: float) -> TaskGroup:
        """The group that the new task `number` belongs to; the first one makes it."""
        group = self.by_name.get(name)
        if group is None:
            group = self.make(name, number, now, created=False)
        group.members += 1
        group.touched_at = now
        return group

    def moved(self, group: TaskGroup, before: State | None, after: State) -> None:
        """A task shows another state, which is not terminal. None: it is new."""
        if before is not None:
            group.counts[before] -= 1
        group.counts[after] += 1
        if group.ended:
            # A task was queued again.
            group.ended = False
            self._journal.add_statement("UPDATE groups SET ended_at = NULL WHERE id = ?", group.id)

    def ended(self, group: TaskGroup, before: State, after: State, now: float) -> None:
        """The end of a task is durable."""
        group.counts[before] -= 1
        group.counts[after] += 1
        group.touched_at = now
        self.check_end(group, now)

    def refused(self, group: TaskGroup, shown: State) -> None:
        """A new task could not be stored."""
        group.counts[shown] -= 1
        group.members -= 1
        self.check_end(group, group.touched_at)
        self._look_later(group)

    def reopened(self, group: TaskGroup, before: State) -> None:
        """A task that has ended becomes a new one."""
        group.counts[before] -= 1

    def check_end(self, group: TaskGroup, now: float) -> None:
        """End the group if it is closed and has no unfinished task."""
        if group.closed and not group.ended and not group.unfinished:
            group.ended = True
            self._journal.add_statement(_END, now, AT_END, now, group.id)
            self._look_later(group)
            self.announce()

    def announce(self) -> None:
        """Tell that groups have changed, when the changes so far are durable."""
        if not self._announcing:
            self._announcing = True
            self._journal.settled().add_done_callback(self._announce)

    def _announce(self, settled: Future[None]) -> None:
        self._announcing = False
        if settled.cancelled() or settled.exception() is None:
            self._changed(GROUPS)
        else:
            # Writes fail. The changes are written when they succeed again.
            self.announce()

    # -- groups ---------------------------------------------------------------------------------------------------

    def make(
        self,
        name: str,
        number: int,
        now: float,
        *,
        created: bool,
        due_at: float | None = None,
        note: bytes = b"",
    ) -> TaskGroup:
        """A new group."""
        group = self._add(TaskGroup(number, name, now, created=created))
        group.due = due_at is not None
        self._journal.add_statement(
            "INSERT OR REPLACE INTO groups (id, name, created_at, created, due_at, note) VALUES (?, ?, ?, ?, ?, ?)",
            number,
            name,
            now,
            created,
            due_at,
            note or None,
        )
        if created:
            # Otherwise its first task comes at once.
            self._look_later(group)
        return group

    def close(self, group: TaskGroup, now: float) -> None:
        """The group takes no more tasks."""
        if not group.closed:
            group.closed = True
            group.touched_at = now
            self._journal.add_statement("UPDATE groups SET closed_at = ? WHERE id = ?", now, group.id)
            self.check_end(group, now)

    def noted(self, group: TaskGroup, now: float, *, due: bool) -> None:
        """A group's note was changed. `due`: it has a time."""
        group.due = due
        group.touched_at = now
        self._look_later(group)

    def delete(self, group: TaskGroup) -> None:
        """Take the group's name. Its tasks still count in it, for nobody."""
        self._forget_name(group)
        group.deleted = True
        group.due = False
        self._journal.add_statement("UPDATE groups SET deleted = 1, due_at = NULL WHERE id = ?", group.id)
        self._look_later(group)

    # -- forgetting -----------------------------------------------------------------------------------------------

    def forgotten(self, gone: Mapping[tuple[int, int], int]) -> None:
        """Tasks were forgotten: how many, by group and final state."""
        for (number, _), count in gone.items():
            group = self.by_id.get(number)
            if group is not None:
                group.members -= count
                self._look_later(group)

    @property
    def next_at(self) -> float:
        """When to look next; may be too early, never too late."""
        return self._looks[0][0] if self._looks else NEVER

    def forget(self, now: float, limit: int) -> None:
        """Forget groups that are not kept any more."""
        for _ in range(limit):
            if not self._looks or self._looks[0][0] > now:
                break
            _, number = heappop(self._looks)
            group = self.by_id.get(number)
            if group is None or group.members or (group.closed and group.due):
                # There will be another look when its last task is forgotten, or its note not due any more.
                continue
            if self._kept_until(group) > now:
                self._look_later(group)
                continue
            del self.by_id[number]
            if not group.deleted:
                self._forget_name(group)
            self._journal.add_statement("DELETE FROM groups WHERE id = ?", number)

    def _forget_name(self, group: TaskGroup) -> None:
        del self.by_name[group.name]
        if not group.ended:
            # Callers may wait for its end.
            self.announce()

    def _look_later(self, group: TaskGroup) -> None:
        """Look at a group without tasks when it may be forgotten."""
        if not group.members:
            heappush(self._looks, (self._kept_until(group), group.id))

    @staticmethod
    def _kept_until(group: TaskGroup) -> float:
        if group.deleted:
            return 0.0
        return kept_until(group.touched_at, created=group.created, ended=group.ended)

    # -- recovery -------------------------------------------------------------------------------------------------

    def _add(self, group: TaskGroup) -> TaskGroup:
        self.by_id[group.id] = group
        if not group.deleted:
            self.by_name[group.name] = group
        return group

    def recover(self, connection: sqlite3.Connection, now: float) -> None:
        """Read the groups, and count their tasks that have ended. The others join when they are recovered."""
        rows = connection.execute(
            "SELECT id, name, created, closed_at IS NOT NULL, ended_at IS NOT NULL, due_at IS NOT NULL, deleted,"
            " succeeded, failed, cancelled FROM groups"
        ).fetchall()
        for number, name, created, closed, ended, due, deleted, *gone in rows:
            group = TaskGroup(number, name, now, created=bool(created))
            group.closed, group.ended = bool(closed), bool(ended)
            group.due, group.deleted = bool(due), bool(deleted)
            group.counts[State.SUCCEEDED :] = gone
            self._add(group)
        if not rows:
            return
        counted = connection.execute(
            "SELECT t.group_id, e.state, count(*) FROM tasks t JOIN ends e ON e.id = t.id"
            " WHERE t.group_id IS NOT NULL GROUP BY t.group_id, e.state"
        )
        for number, state, count in counted:
            if (known := self.by_id.get(number)) is not None:
                known.counts[state] += count
                known.members += count

    def recovered(self, now: float) -> None:
        """All tasks are recovered."""
        for group in self.by_id.values():
            self.check_end(group, now)
            self._look_later(group)


def note_forgotten(connection: sqlite3.Connection, gone: Mapping[tuple[int, int], int]) -> None:
    """Note in the file how many tasks of groups are forgotten, by group and final state."""
    for (number, state), count in gone.items():
        column = _FORGOTTEN[State(state)]
        connection.execute(
            f"UPDATE groups SET {column} = {column} + ? WHERE id = ?",  # noqa: S608  # a column of the schema
            (count, number),
        )
