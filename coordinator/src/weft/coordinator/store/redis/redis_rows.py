"""The Redis store's table: each row is a field of its kind's hash, changed by one script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weft.coordinator.store.redis.redis_link import RedisLink
from weft.coordinator.store.table_store import (
    MAX_ROWS_OF_KIND,
    PAGE_BYTES,
    DueRows,
    RowConflict,
    RowDelete,
    RowPage,
    RowPut,
    TableRow,
    TooManyRows,
    check_changes,
)

# Rows that one script reads by key: each has up to 64 KiB.
_READ_ROWS = 16
_DONE, _CONFLICT, _TOO_MANY = range(3)


class RedisRows:
    """The table's third of a Redis store; `RedisStore` makes the link."""

    _link: RedisLink
    max_rows = MAX_ROWS_OF_KIND

    async def put_rows(self, puts: Sequence[RowPut]) -> Sequence[int | RowConflict | TooManyRows]:
        check_changes(puts)
        changes = [
            (put.kind, put.key, put.value, _or_false(put.due_at), _or_false(put.expected)) for put in puts
        ]
        results: list[int | RowConflict | TooManyRows] = []
        for put, (how, revision) in zip(puts, await self._change(changes), strict=True):
            if how == _CONFLICT:
                results.append(RowConflict(revision))
            elif how == _TOO_MANY:
                results.append(TooManyRows(put.kind, self.max_rows))
            else:
                results.append(revision)
        return results

    async def delete_rows(self, deletes: Sequence[RowDelete]) -> Sequence[bool | RowConflict]:
        check_changes(deletes)
        changes = [(each.kind, each.key, False, False, _or_false(each.expected)) for each in deletes]
        results: list[bool | RowConflict] = [
            RowConflict(revision) if how == _CONFLICT else how == _DONE
            for how, revision in await self._change(changes)
        ]
        return results

    async def _change(self, changes: Sequence[Any]) -> Sequence[tuple[int, int]]:
        return await self._link.run("change_rows", [self.max_rows, changes]) if changes else []

    async def get_rows(self, kind: str, keys: Sequence[str]) -> Sequence[TableRow | None]:
        found: dict[str, TableRow] = {}
        for at in range(0, len(keys), _READ_ROWS):
            items = await self._link.run("get_rows", [kind, keys[at : at + _READ_ROWS]])
            found |= {row.key: row for row in _rows(kind, items)}
        return [found.get(key) for key in keys]

    async def list_rows(self, kind: str, *, limit: int, cursor: str = "") -> RowPage:
        items, more = await self._link.run("list_rows", [kind, cursor, limit, PAGE_BYTES])
        rows = _rows(kind, items)
        return RowPage(rows, rows[-1].key if more and rows else "")

    async def due_rows(self, kind: str, limit: int) -> DueRows:
        items, next_at, now = await self._link.run("due_rows", [kind, limit, PAGE_BYTES])
        return DueRows(_rows(kind, items), None if next_at is False else float(next_at), float(now))


def _or_false(value: float | None) -> float | bool:
    return False if value is None else value


def _rows(kind: str, items: Any) -> list[TableRow]:
    return [
        TableRow(kind, key.decode(), value, revision, None if due is False else float(due))
        for key, revision, due, value in items or ()
    ]
