"""Usage as rows of the store's table. Each coordinator has rows of its own, for each hour and day: nobody else writes them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError

from weft.coordinator.store.base import Store
from weft.coordinator.store.table_store import MAX_CHANGES, RowDelete, RowPut
from weft.coordinator.usage.usage_table import UsageTable
from weft.coordinator.usage.usage_times import (
    KEEP_DAYS_S,
    KEEP_HOURS_S,
    day_name,
    hour_name,
    time_of,
)
from weft.v1 import usage_pb2

KIND = "usage"
# Of one row, which holds 64 KiB: names have some 100 bytes.
_ENTRIES = 120
_PAGE = 200


class UsageRows:
    """The rows of this coordinator, which it adds to, and those of all, which it reads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Of this process: another one with the same id must not write over its rows.
        self._owner = secrets.token_hex(6)
        self._own: dict[str, UsageTable] = {}

    def add(self, table: UsageTable) -> None:
        """Add what was counted to the present hour and day. `write` makes it durable."""
        now = self._store.now()
        names = hour_name(now), day_name(now)
        for name in names:
            self._own.setdefault(name, UsageTable()).merge(table)

    async def write(self) -> None:
        """
        Raises:
            Unavailable: the store cannot be written; another call writes what this one did not.
        """
        puts: list[RowPut] = []
        for name, table in self._own.items():
            ends_at = time_of(name) + (KEEP_HOURS_S if name.startswith("h/") else KEEP_DAYS_S)
            for number, record in enumerate(table.records(_ENTRIES)):
                key = f"{name}/{self._owner}/{number}"
                puts.append(RowPut(KIND, key, record.SerializeToString(), ends_at))
        for at in range(0, len(puts), MAX_CHANGES):
            await self._store.put_rows(puts[at : at + MAX_CHANGES])
        now = self._store.now()
        present = {hour_name(now), day_name(now)}
        self._own = {name: table for name, table in self._own.items() if name in present}

    async def read(self, first: str, last: str) -> AsyncIterator[tuple[str, usage_pb2.UsageRecord]]:
        """The records of all hours, or of all days, from one to another, in order: each with the name of its time."""
        cursor = f"{first}/"
        while True:
            page = await self._store.list_rows(KIND, limit=_PAGE, cursor=cursor)
            for row in page.rows:
                name = row.key.rsplit("/", 2)[0]
                if name > last:
                    return
                try:
                    yield name, usage_pb2.UsageRecord.FromString(row.value)
                except DecodeError:
                    continue
            cursor = page.cursor
            if not cursor:
                return

    async def forget(self) -> float | None:
        """Delete rows whose time has passed; returns when the next one's does."""
        due = await self._store.due_rows(KIND, _PAGE)
        if due.rows:
            await self._store.delete_rows([RowDelete(KIND, row.key, row.revision) for row in due.rows])
        return due.next_at
