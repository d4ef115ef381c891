"""The embedded store's table: rows in the file alone. A change is a job of the journal, which reads the row and writes it in one
transaction; no row is kept in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from weft.coordinator.store.embedded.core import ReaderPool
from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.table_store import (
    MAX_ROWS_OF_KIND,
    DueRows,
    RowConflict,
    RowDelete,
    RowPage,
    RowPut,
    TableRow,
    TooManyRows,
    changed_kinds,
    check_changes,
)


class EmbeddedRows:
    """The table's third of an embedded store; `EmbeddedStore` makes the parts."""

    _clock: Callable[[], float]
    _table: TaskTable
    _journal: Journal
    _readers: ReaderPool
    max_rows = MAX_ROWS_OF_KIND

    async def put_rows(self, puts: Sequence[RowPut]) -> Sequence[int | RowConflict | TooManyRows]:
        check_changes(puts)
        self._journal.check_writable()
        most = self.max_rows
        results: Sequence[int | RowConflict | TooManyRows] = await self._journal.run(
            lambda connection: _put_all(connection, puts, most)
        )
        self._tell(changed_kinds(puts, results))
        return results

    async def delete_rows(self, deletes: Sequence[RowDelete]) -> Sequence[bool | RowConflict]:
        check_changes(deletes)
        self._journal.check_writable()
        results: Sequence[bool | RowConflict] = await self._journal.run(
            lambda connection: [_delete(connection, each) for each in deletes]
        )
        self._tell(changed_kinds(deletes, results))
        return results

    async def get_rows(self, kind: str, keys: Sequence[str]) -> Sequence[TableRow | None]:
        found = await self._readers.read(lambda reader: reader.rows(kind, keys), rows=len(keys))
        return [found.get(key) for key in keys]

    async def list_rows(self, kind: str, *, limit: int, cursor: str = "") -> RowPage:
        return await self._readers.read(lambda reader: reader.rows_after(kind, cursor, limit), rows=limit)

    async def due_rows(self, kind: str, limit: int) -> DueRows:
        now = self._clock()
        rows, next_at = await self._readers.read(lambda reader: reader.due_rows(kind, now, limit), rows=limit)
        return DueRows(rows, next_at, now)

    def _tell(self, kinds: set[str]) -> None:
        for kind in kinds:
            self._table.listener.rows_changed(kind)


def _revision(connection: sqlite3.Connection, kind: str, key: str) -> int:
    """The row's revision; 0: it does not exist."""
    found = connection.execute(
        "SELECT revision FROM table_rows WHERE kind = ? AND key = ?", (kind, key)
    ).fetchone()
    return 0 if found is None else int(found[0])


def _put_all(
    connection: sqlite3.Connection, puts: Sequence[RowPut], most: int
) -> list[int | RowConflict | TooManyRows]:
    # Rows of each kind: counted once, since that reads all of them.
    counts: dict[str, int] = {}
    return [_put(connection, put, most, counts) for put in puts]


def _put(
    connection: sqlite3.Connection, put: RowPut, most: int, counts: dict[str, int]
) -> int | RowConflict | TooManyRows:
    present = _revision(connection, put.kind, put.key)
    if put.expected is not None and put.expected != present:
        return RowConflict(present)
    if not present:
        if put.kind not in counts:
            (counts[put.kind],) = connection.execute(
                "SELECT count(*) FROM table_rows WHERE kind = ?", (put.kind,)
            ).fetchone()
        if counts[put.kind] >= most:
            return TooManyRows(put.kind, most)
        counts[put.kind] += 1
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'row_revision'")
    (revision,) = connection.execute("SELECT value FROM meta WHERE name = 'row_revision'").fetchone()
    connection.execute(
        "INSERT OR REPLACE INTO table_rows (kind, key, revision, due_at, value) VALUES (?, ?, ?, ?, ?)",
        (put.kind, put.key, revision, put.due_at, put.value),
    )
    return int(revision)


def _delete(connection: sqlite3.Connection, delete: RowDelete) -> bool | RowConflict:
    present = _revision(connection, delete.kind, delete.key)
    if delete.expected is not None and delete.expected != present:
        return RowConflict(present)
    connection.execute("DELETE FROM table_rows WHERE kind = ? AND key = ?", (delete.kind, delete.key))
    return present > 0
