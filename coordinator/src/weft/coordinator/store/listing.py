"""Listing tasks: the file's rows, newest first, with what memory knows better laid over them.

The file knows nothing of claims: what an unfinished task's state is, memory says. An outcome that is in the file and
has not been announced yet counts as not there. Each step reads a bounded number of rows, on the reading thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from heapq import nlargest

from weft.coordinator.rules import State
from weft.coordinator.store.board import Board
from weft.coordinator.store.entry import Entry, Saved
from weft.coordinator.store.identity import format_id, least_number_at, parse_id
from weft.coordinator.store.paging import fits, read_records
from weft.coordinator.store.reader import Reader
from weft.coordinator.store.records import ListFilter, Page, TaskRecord
from weft.rpc.errors import InvalidArgument

# Rows that one page looks at: what it costs when nothing matches.
SCAN_ROWS = 2000
_ABOVE_ALL = (1 << 63) - 1

Row = tuple[int, str, float, int | None]
Scan = Callable[[Callable[[Reader], list[Row]]], Awaitable[list[Row]]]
Get = Callable[[Sequence[int]], Awaitable[Sequence[TaskRecord | None]]]


async def list_page(board: Board, scan: Scan, get: Get, where: ListFilter, limit: int, cursor: str) -> Page:
    """A page of tasks.

    Raises:
        InvalidArgument: the cursor is malformed.
    """
    below = _ABOVE_ALL if not cursor else parse_id(cursor)
    if below is None:
        raise InvalidArgument("the page token is not one of this store's", field="page_token")
    if where.states == {State.RUNNING}:
        return await _running(board, get, where, limit, below)
    unfinished = bool(where.states) and not any(state.terminal for state in where.states)
    least = 0 if where.created_from is None else least_number_at(where.created_from)
    rows = await scan(lambda reader: reader.scan(below, least, SCAN_ROWS, unfinished=unfinished))
    more = len(rows) == SCAN_ROWS
    chosen = []
    last = 0
    for number, method, created_at, final in rows:
        last = number
        entry = board.entries.get(number)
        if fits(where, method, created_at) and _may_be(where, entry, final):
            chosen.append(number)
            if len(chosen) == limit:
                more = True
                break
    records, taken = await read_records(get, where, chosen)
    if taken < len(chosen):
        last, more = chosen[taken - 1], True
    return Page(records, format_id(last) if more else "")


def _may_be(where: ListFilter, entry: Entry | None, final: int | None) -> bool:
    """Whether a task can have one of the states: one that has just ended must be read again to know."""
    if not where.states:
        return True
    if entry is not None:
        return (entry.state if entry.end is None else entry.end.before) in where.states
    return final is None or State(final) in where.states


async def _running(board: Board, get: Get, where: ListFilter, limit: int, below: int) -> Page:
    numbers = nlargest(
        limit,
        (
            entry.number
            for entry in board.leases.running()
            if entry.number < below
            and entry.saved is Saved.STORED
            and fits(where, entry.terms.method, entry.created_at)
        ),
    )
    records, taken = await read_records(get, where, numbers)
    more = taken < len(numbers) or len(numbers) == limit
    return Page(records, format_id(numbers[taken - 1]) if more else "")
