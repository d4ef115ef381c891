"""The table's third of a store: small durable rows that coordinators share, changed by compare-and-set.

A row has a kind, which names its user, and a key. The store knows nothing of the values: schedules, overrides and the like
are rules on top of it.

- A method that makes a change returns when the change is durable. Changes within one call are applied in order, each by itself:
  a refused one does not keep the others from being made.
- Each change of a row gives it a revision that is larger than all earlier ones of the store, also after a deletion. Whoever
  changes a row with the revision that it has read knows that nobody else has changed it since.
- `StoreListener.rows_changed` tells every coordinator of the store, soon after a change and at least once.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from weft.rpc import refusals

MAX_KIND_BYTES = 64
MAX_KEY_BYTES = 512
MAX_VALUE_BYTES = 64 * 1024
# Rows of one kind.
MAX_ROWS_OF_KIND = 100_000
# Changes in one call.
MAX_CHANGES = 1000
# Values in one page of a listing.
PAGE_BYTES = 1024 * 1024
# Rows in one page, where all are read.
_PAGE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row as stored. `due_at`: when its user will look at it, by the store's clock; None: never."""

    kind: str
    key: str
    value: bytes
    revision: int
    due_at: float | None = None


@dataclass(frozen=True, slots=True)
class RowPut:
    """Write a row: if it has the revision `expected` (0: if it does not exist), or in any case (None)."""

    kind: str
    key: str
    value: bytes
    due_at: float | None = None
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class RowDelete:
    """Delete a row: if it has the revision `expected`, or in any case (None)."""

    kind: str
    key: str
    expected: int | None = None


class RowConflict(NamedTuple):
    """A refused change: the row has another revision than expected; 0: it does not exist."""

    revision: int


class TooManyRows(NamedTuple):
    """A refused put: the kind has as many rows as it may have."""

    kind: str
    limit: int


@dataclass(frozen=True, slots=True)
class RowPage:
    """Rows in the order of their keys, and the cursor of the next page; empty: this is the last page."""

    rows: Sequence[TableRow]
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class DueRows:
    """Due rows, earliest first; when the next row is due that is not among them (None: no other row has a time); and the time
    of the read, by the store's clock."""

    rows: Sequence[TableRow]
    next_at: float | None
    now: float


class TableStore(Protocol):
    """Small durable rows. Changes raise `weft.rpc.errors.Unavailable` (reason STORE_UNAVAILABLE) if the store cannot be written,
    and `weft.rpc.errors.InvalidArgument` or `TooLarge` if a change is out of bounds: then nothing of the call was changed."""

    async def put_rows(self, puts: Sequence[RowPut]) -> Sequence[int | RowConflict | TooManyRows]:
        """Write rows; returns the new revision of each."""
        ...

    async def delete_rows(self, deletes: Sequence[RowDelete]) -> Sequence[bool | RowConflict]:
        """Delete rows. False: there was no such row, and none was expected in particular."""
        ...

    async def get_rows(self, kind: str, keys: Sequence[str]) -> Sequence[TableRow | None]:
        """Read rows; None: there is no such row."""
        ...

    async def list_rows(self, kind: str, *, limit: int, cursor: str = "") -> RowPage:
        """A page of a kind's rows, in the order of their keys. A short page may have a next one."""
        ...

    async def due_rows(self, kind: str, limit: int) -> DueRows:
        """Rows of a kind whose time has come, earliest first."""
        ...


async def every_row(table: TableStore, kind: str) -> AsyncIterator[TableRow]:
    """All rows of a kind, in the order of their keys, read page by page."""
    cursor = ""
    while True:
        page = await table.list_rows(kind, limit=_PAGE_ROWS, cursor=cursor)
        for row in page.rows:
            yield row
        if not (cursor := page.cursor):
            return


def check_changes(changes: Sequence[RowPut | RowDelete]) -> None:
    """Refuse changes that are out of bounds.

    Raises:
        weft.rpc.errors.InvalidArgument, TooLarge
    """
    if len(changes) > MAX_CHANGES:
        raise refusals.invalid_field(f"one call changes at most {MAX_CHANGES} rows", field="rows")
    for change in changes:
        _check_name("kind", change.kind, MAX_KIND_BYTES)
        _check_name("key", change.key, MAX_KEY_BYTES)
        if not isinstance(change, RowPut):
            continue
        if (size := len(change.value)) > MAX_VALUE_BYTES:
            raise refusals.payload_too_large(
                f"a row of kind {change.kind!r} holds at most {MAX_VALUE_BYTES} bytes; this one has {size}",
                size,
                MAX_VALUE_BYTES,
                field="value",
            )
        if change.due_at is not None and not math.isfinite(change.due_at):
            raise refusals.invalid_field("a row's time must be a finite number", field="due_at")


def changed_kinds(
    changes: Iterable[RowPut | RowDelete], results: Iterable[bool | int | RowConflict | TooManyRows]
) -> set[str]:
    """The kinds of which rows have changed."""
    return {
        change.kind
        for change, result in zip(changes, results, strict=True)
        if result and isinstance(result, int)
    }


def _check_name(field: str, name: str, most_bytes: int) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise refusals.invalid_field(f"a row's {field} must be text", field=field) from None
    if not 1 <= size <= most_bytes:
        raise refusals.invalid_field(
            f"a row's {field} has 1 to {most_bytes} bytes; this one has {size}", field=field
        )
