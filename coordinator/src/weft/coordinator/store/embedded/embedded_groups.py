"""The embedded store's groups: the file has the groups and their notes, memory has the counts (`group_table`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from weft.coordinator.store.embedded.core import ReaderPool
from weft.coordinator.store.embedded.group_table import GroupTable
from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.embedded.reader import GroupRow
from weft.coordinator.store.embedded.task_group import TaskGroup
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.group_store import (
    AT_END,
    MAX_GROUPS,
    MAX_MEMBERS,
    DueGroups,
    GroupChange,
    GroupPage,
    GroupRecord,
    TooManyGroups,
)
from weft.coordinator.store.rules import State
from weft.coordinator.store.task_ids import NumberGenerator, format_id


class EmbeddedGroups:
    """The groups' quarter of an embedded store; `EmbeddedStore` makes the parts."""

    _clock: Callable[[], float]
    _table: TaskTable
    _journal: Journal
    _readers: ReaderPool
    _numbers: NumberGenerator
    max_groups = MAX_GROUPS
    max_members = MAX_MEMBERS

    @property
    def _groups(self) -> GroupTable:
        return self._table.groups

    async def create_group(
        self, name: str, note: bytes = b"", due_at: float | None = None
    ) -> tuple[GroupRecord, bool] | TooManyGroups:
        self._journal.check_writable()
        existed = name in self._groups.by_name
        if not existed:
            if len(self._groups.by_name) >= self.max_groups:
                return TooManyGroups(name, self.max_groups)
            now = self._clock()
            self._groups.make(name, self._numbers.next(now), now, created=True, due_at=due_at, note=note)
        await self._journal.settled()
        (record,) = await self.get_groups([name])
        # Otherwise it was forgotten meanwhile.
        return (record, existed) if record is not None else await self.create_group(name, note, due_at)

    async def get_groups(self, names: Sequence[str]) -> Sequence[GroupRecord | None]:
        found = await self._readers.read(lambda reader: reader.groups(names), rows=len(names))
        return [self._record(found.get(name)) for name in names]

    async def list_groups(self, *, limit: int, cursor: str = "") -> GroupPage:
        rows = await self._readers.read(lambda reader: reader.groups_after(cursor, limit + 1), rows=limit)
        records = [record for row in rows[:limit] if (record := self._record(row)) is not None]
        return GroupPage(records, rows[limit - 1][1] if len(rows) > limit else "")

    async def close_group(self, name: str) -> GroupRecord | None:
        group = self._groups.by_name.get(name)
        if group is None:
            return None
        self._groups.close(group, self._clock())
        await self._journal.settled()
        return (await self.get_groups([name]))[0]

    async def change_groups(self, changes: Sequence[GroupChange]) -> Sequence[bool]:
        self._journal.check_writable()
        now = self._clock()
        groups = [self._known(change.known) for change in changes]
        present = [
            (group, change) for group, change in zip(groups, changes, strict=True) if group is not None
        ]
        if not present:
            return [False] * len(changes)
        results: list[bool] = await self._journal.run(
            lambda connection: [_change(connection, group.id, change, now) for group, change in present]
        )
        for (group, change), changed in zip(present, results, strict=True):
            if changed:
                self._groups.noted(group, now, due=change.due_at is not None)
        if any(results):
            self._groups.announce()
        of_present = iter(results)
        return [group is not None and next(of_present) for group in groups]

    def _known(self, record: GroupRecord) -> TaskGroup | None:
        """The group of a record, if it is still there."""
        group = self._groups.by_name.get(record.name)
        return group if group is not None and format_id(group.id) == record.uid else None

    async def delete_group(self, name: str) -> bool | None:
        group = self._groups.by_name.get(name)
        if group is None:
            return None
        if group.unfinished or (group.closed and group.due):
            return False
        self._groups.delete(group)
        await self._journal.settled()
        return True

    async def due_groups(self, limit: int) -> DueGroups:
        now = self._clock()
        rows = await self._readers.read(lambda reader: reader.due_groups(limit + 1), rows=limit)
        due = [row for row in rows[:limit] if row[5] is not None and row[5] <= now]
        following = rows[len(due)][5] if len(rows) > len(due) else AT_END
        records = [record for row in due if (record := self._record(row)) is not None]
        return DueGroups(records, None if following == AT_END else following, now)

    def _record(self, row: GroupRow | None) -> GroupRecord | None:
        group = None if row is None else self._groups.by_id.get(row[0])
        if row is None or group is None:
            return None
        number, name, created_at, closed_at, ended_at, due_at, note = row
        counts = {state: group.counts[state] for state in State}
        return GroupRecord(
            name, format_id(number), created_at, counts, closed_at, ended_at, note or b"", due_at
        )


def _change(connection: sqlite3.Connection, number: int, change: GroupChange, now: float) -> bool:
    due_at = change.due_at
    changed = connection.execute(
        "UPDATE groups SET note = ?, due_at = CASE WHEN ended_at IS NOT NULL AND ? = ? THEN ? ELSE ? END"
        " WHERE id = ? AND NOT deleted AND coalesce(note, x'') = ?",
        (change.note or None, due_at, AT_END, now, due_at, number, change.known.note),
    )
    return changed.rowcount == 1
