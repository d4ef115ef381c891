"""The table: rows, revisions, compare-and-set, listing, due rows, news of changes, bounds."""

from __future__ import annotations

import asyncio

import pytest

from tests.store.support import Harness, StoreFactory
from weft.coordinator.store import table_store
from weft.coordinator.store.table_store import (
    MAX_VALUE_BYTES,
    RowConflict,
    RowDelete,
    RowPut,
    TableRow,
    TooManyRows,
)
from weft.rpc.errors import InvalidArgument, TooLarge


async def _put(h: Harness, key: str, value: bytes = b"v", *, kind: str = "k", **more: float | None) -> int:
    (revision,) = await h.store.put_rows([RowPut(kind, key, value, more.get("due_at"))])
    assert isinstance(revision, int)
    return revision


async def _all(h: Harness, kind: str = "k", limit: int = 2) -> list[TableRow]:
    found: list[TableRow] = []
    cursor = ""
    while True:
        page = await h.store.list_rows(kind, limit=limit, cursor=cursor)
        assert len(page.rows) <= limit
        found += page.rows
        cursor = page.cursor
        if not cursor:
            return found


async def test_a_row_is_read_as_it_was_put(h: Harness) -> None:
    value = bytes(range(256)) * 3
    revision = await _put(h, "schlüssel\n☂", value, due_at=1.7e9 + 0.123456)
    row = TableRow("k", "schlüssel\n☂", value, revision, 1.7e9 + 0.123456)
    assert await h.store.get_rows("k", ["no", "schlüssel\n☂"]) == [None, row]
    assert await h.store.get_rows("other", ["schlüssel\n☂"]) == [None]
    assert await _all(h) == [row]
    empty = await _put(h, "empty", b"")
    assert await h.store.get_rows("k", ["empty"]) == [TableRow("k", "empty", b"", empty)]


async def test_a_change_with_another_revision_is_refused(h: Harness) -> None:
    assert await h.store.put_rows([RowPut("k", "a", b"1", expected=7)]) == [RowConflict(0)]
    (first,) = await h.store.put_rows([RowPut("k", "a", b"1", expected=0)])
    assert isinstance(first, int)
    assert await h.store.put_rows([RowPut("k", "a", b"2", expected=0)]) == [RowConflict(first)]
    (second,) = await h.store.put_rows([RowPut("k", "a", b"2", expected=first)])
    assert isinstance(second, int)
    assert second > first
    # Each by itself: the conflict in the middle keeps nothing else from being done.
    results = await h.store.put_rows(
        [
            RowPut("k", "b", b"1", expected=0),
            RowPut("k", "a", b"3", expected=first),
            RowPut("k", "b", b"2", expected=0),
        ]
    )
    assert results[1] == RowConflict(second)
    assert results[2] == RowConflict(results[0])  # type: ignore[arg-type]
    assert [row.value for row in await _all(h)] == [b"2", b"1"]
    assert await h.store.delete_rows([RowDelete("k", "a", first), RowDelete("k", "b")]) == [
        RowConflict(second),
        True,
    ]
    assert await h.store.delete_rows([RowDelete("k", "b"), RowDelete("k", "b", 5)]) == [False, RowConflict(0)]


async def test_a_row_that_comes_back_has_a_new_revision(h: Harness) -> None:
    first = await _put(h, "a")
    assert await h.store.delete_rows([RowDelete("k", "a", first)]) == [True]
    assert await _put(h, "a") > first


async def test_of_many_writers_one_wins(h: Harness) -> None:
    revision = await _put(h, "a")
    results = await asyncio.gather(
        *(h.store.put_rows([RowPut("k", "a", str(n).encode(), expected=revision)]) for n in range(20))
    )
    won = [n for n, (result,) in enumerate(results) if isinstance(result, int)]
    assert len(won) == 1
    assert [row.value for row in await _all(h)] == [str(won[0]).encode()]


async def test_a_listing_is_in_the_order_of_keys(h: Harness) -> None:
    keys = ["z", "a", "é", "aa", "Z", "☂", "a b"]
    for key in keys:
        await _put(h, key)
    await _put(h, "other", kind="k2")
    assert [row.key for row in await _all(h)] == sorted(keys)
    assert [row.key for row in await _all(h, limit=100)] == sorted(keys)
    # The key that the cursor names may be gone.
    page = await h.store.list_rows("k", limit=2)
    await h.store.delete_rows([RowDelete("k", page.cursor)])
    assert (await h.store.list_rows("k", limit=1, cursor=page.cursor)).rows[0].key == sorted(keys)[2]


async def test_pages_carry_about_a_megabyte(h: Harness) -> None:
    for n in range(40):
        await _put(h, f"{n:02}", bytes(MAX_VALUE_BYTES), due_at=1.0)
    page = await h.store.list_rows("k", limit=100)
    assert 16 <= len(page.rows) <= 18
    assert len(await _all(h, limit=100)) == 40
    due = await h.store.due_rows("k", 100)
    assert 16 <= len(due.rows) <= 18
    assert due.next_at == 1.0


async def test_due_rows_come_earliest_first(h: Harness) -> None:
    now = h.clock()
    for key, at in (("late", 30.0), ("soon", 10.0), ("never", None), ("first", -5.0), ("second", -5.0)):
        await _put(h, key, due_at=None if at is None else now + at)
    await _put(h, "other", kind="k2", due_at=now - 1.0)
    due = await h.store.due_rows("k", 10)
    assert [row.key for row in due.rows] == ["first", "second"]
    assert (due.next_at, due.now) == (now + 10.0, now)
    due = await h.store.due_rows("k", 1)
    assert [row.key for row in due.rows] == ["first"]
    assert due.next_at == now - 5.0
    h.clock.advance(10.0)
    assert [row.key for row in (await h.store.due_rows("k", 10)).rows] == ["first", "second", "soon"]
    # A row's time is that of its last change.
    await _put(h, "first")
    await _put(h, "second", due_at=now + 40.0)
    await h.store.delete_rows([RowDelete("k", "soon")])
    due = await h.store.due_rows("k", 10)
    assert (due.rows, due.next_at) == ([], now + 30.0)
    await h.store.delete_rows([RowDelete("k", "late"), RowDelete("k", "second")])
    assert (await h.store.due_rows("k", 10)).next_at is None


async def test_changes_are_told_by_kind(h: Harness) -> None:
    h.listener.changed_kinds.clear()
    await h.store.put_rows([RowPut("k1", "a", b""), RowPut("k2", "a", b"", expected=9)])
    assert set(h.listener.changed_kinds) == {"k1"}
    h.listener.changed_kinds.clear()
    await h.store.delete_rows([RowDelete("k1", "a")])
    assert set(h.listener.changed_kinds) == {"k1"}


async def test_rows_outlive_the_process(h: Harness, store_factory: StoreFactory) -> None:
    first = await _put(h, "a", b"1", due_at=h.clock() - 1.0)
    gone = await _put(h, "b")
    await h.store.delete_rows([RowDelete("k", "b")])
    for crash in (True, False):
        h = await store_factory.reopen(h, crash=crash)
        assert [(row.key, row.value, row.revision) for row in await _all(h)] == [("a", b"1", first)]
        assert [row.key for row in (await h.store.due_rows("k", 10)).rows] == ["a"]
    assert await _put(h, "b") > gone


async def test_bounds_have_typed_refusals(h: Harness) -> None:
    bad = {
        "kind": [RowPut("", "a", b""), RowPut("k" * 65, "a", b"")],
        "key": [RowPut("k", "", b""), RowPut("k", "a" * 10_000, b""), RowPut("k", "\ud800", b"")],
        "due_at": [RowPut("k", "a", b"", due_at=float("nan")), RowPut("k", "a", b"", due_at=float("inf"))],
    }
    for field, puts in bad.items():
        for put in puts:
            with pytest.raises(InvalidArgument, match=f"row's {field}|row's time"):
                # Nothing of a call with such a change is done.
                await h.store.put_rows([RowPut("k", "good", b""), put])
    with pytest.raises(TooLarge, match="at most 65536 bytes"):
        await h.store.put_rows([RowPut("k", "good", b""), RowPut("k", "a", bytes(MAX_VALUE_BYTES + 1))])
    with pytest.raises(InvalidArgument, match="at most 1000 rows"):
        await h.store.delete_rows([RowDelete("k", "a")] * 1001)
    assert await _all(h) == []


async def test_a_kind_has_so_many_rows(h: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(h.store), "max_rows", 3)
    results = await h.store.put_rows([RowPut("k", str(n), b"") for n in range(4)])
    assert results[3] == TooManyRows("k", 3)
    # Changes of rows that are there, and other kinds, are not bounded by it.
    assert isinstance((await h.store.put_rows([RowPut("k", "2", b"new")]))[0], int)
    assert isinstance((await h.store.put_rows([RowPut("k2", "2", b"new")]))[0], int)
    await h.store.delete_rows([RowDelete("k", "0")])
    assert isinstance((await h.store.put_rows([RowPut("k", "3", b"")]))[0], int)


async def test_many_rows_are_read_in_portions(h: Harness) -> None:
    keys = [f"{n:04}" for n in range(table_store.MAX_CHANGES)]
    await h.store.put_rows([RowPut("k", key, key.encode()) for key in keys])
    found = await h.store.get_rows("k", [*keys[::7], "none"])
    assert [row.value.decode() for row in found[:-1] if row is not None] == keys[::7]
    assert found[-1] is None
    assert [row.key for row in await _all(h, limit=300)] == keys
