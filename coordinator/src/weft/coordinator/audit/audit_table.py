"""The audit in the store: rows in the order of their times, from all coordinators, which are forgotten after a while."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime

from weft.coordinator.audit.audit_event import Record, line_of, record_of
from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import RowDelete, RowPut, TooManyRows

KIND = "audit"
# Rows that are deleted in one go, when their time has come or there are too many.
_DELETED = 1000
_PAGE = 500


class AuditTable:
    """The events in a store.

    Args:
        keep_s: an event is forgotten so long after it was written.
    """

    def __init__(self, store: Store, keep_s: float) -> None:
        self._store = store
        self._keep_s = keep_s

    def now(self) -> float:
        return self._store.now()

    async def write(self, records: Sequence[Record]) -> None:
        """Write events. If there are too many rows, the oldest give way.

        Raises:
            Unavailable: the store cannot be written.
        """
        due_at = self._store.now() + self._keep_s
        puts = [RowPut(KIND, _key(each), line_of(each), due_at) for each in records]
        refused = [
            put
            for put, result in zip(puts, await self._store.put_rows(puts), strict=True)
            if isinstance(result, TooManyRows)
        ]
        if refused:
            page = await self._store.list_rows(KIND, limit=_DELETED)
            await self._store.delete_rows([RowDelete(KIND, row.key) for row in page.rows])
            await self._store.put_rows(refused)

    async def page(self, limit: int, cursor: str) -> tuple[list[Record], str]:
        """Some events, oldest first, and the cursor of the next page."""
        page = await self._store.list_rows(KIND, limit=limit, cursor=cursor)
        return [record_of(row.value) for row in page.rows], page.cursor

    async def after(self, cursor: str) -> AsyncIterator[tuple[str, Record]]:
        """All events after a cursor, each with its key."""
        while True:
            page = await self._store.list_rows(KIND, limit=_PAGE, cursor=cursor)
            for row in page.rows:
                yield row.key, record_of(row.value)
            if not (cursor := page.cursor):
                return

    async def forget(self) -> bool:
        """Delete events whose time has come, some at a time. True: there may be more."""
        due = await self._store.due_rows(KIND, _DELETED)
        if due.rows:
            await self._store.delete_rows([RowDelete(KIND, row.key, row.revision) for row in due.rows])
        return len(due.rows) == _DELETED


def cursor_at(time: float) -> str:
    """The cursor after which events since a time follow."""
    return _time_key(time)


def _time_key(time: float) -> str:
    return f"{max(0, int(time * 1e6)):020d}"


def _key(record: Record) -> str:
    chain = hashlib.sha256(str(record["chain"]).encode()).hexdigest()[:12]
    time = datetime.fromisoformat(record["time"]).astimezone(UTC).timestamp()
    return f"{_time_key(time)}-{chain}-{record['sequence']:012d}"
