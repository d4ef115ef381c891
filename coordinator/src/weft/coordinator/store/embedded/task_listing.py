"""Lists tasks: rows of the file, newest first, with the states of unfinished tasks from memory.

The file does not know claims: memory has the state of an unfinished task. An outcome that is in the file but not announced
yet does not count. Each step reads a bounded number of rows, on the reading thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from heapq import nlargest
from typing import Protocol, TypeVar

from weft.coordinator.store.embedded.reader import KnownRequest, Reader
from weft.coordinator.store.embedded.task_group import TaskGroup
from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.embedded.unfinished_task import Saved, UnfinishedTask
from weft.coordinator.store.paging import ListFilter, Page, fits, most_candidates, read_records
from weft.coordinator.store.records import TaskRecord
from weft.coordinator.store.rules import State
from weft.coordinator.store.task_ids import format_id, least_number_at, parse_id, request_key
from weft.rpc import refusals

# Most rows that are read for one page: its cost if nothing matches.
SCAN_ROWS = 2000
T = TypeVar("T")
_ABOVE_ALL = (1 << 63) - 1

Row = tuple[int, str, float, int | None, str | None]


class Scan(Protocol):
    """Runs a query on the reading thread."""

    async def __call__(self, query: Callable[[Reader], T], /) -> T: ...


Get = Callable[[Sequence[int]], Awaitable[Sequence[TaskRecord | None]]]


async def list_page(
    table: TaskTable, scan: Scan, get: Get, where: ListFilter, limit: int, cursor: str
) -> Page:
    """A page of tasks.

    Raises:
        InvalidArgument: the cursor is malformed.
    """
    below = _ABOVE_ALL if not cursor else parse_id(cursor)
    if below is None:
        raise refusals.invalid_field("the page token is not one of this store's", field="page_token")
    if where.request_id:
        return await _named(scan, get, where, limit, below)
    group = table.groups.by_name.get(where.group)
    if where.group and group is None:
        return Page([])
    if where.states == {State.RUNNING}:
        return await _running(table, get, where, group, limit, below)
    unfinished = bool(where.states) and not any(state.terminal for state in where.states)
    least = 0 if where.created_from is None else least_number_at(where.created_from)
    group_id = None if group is None else group.id
    rows: list[Row] = await scan(
        lambda reader: reader.scan(below, least, SCAN_ROWS, unfinished=unfinished, group=group_id)
    )
    more = len(rows) == SCAN_ROWS
    chosen: list[int] = []
    last = 0
    for number, method, created_at, final, agent_id in rows:
        last = number
        task = table.tasks.get(number)
        agent_id = _agent_of(task) if task is not None else agent_id or ""
        if fits(where, method, created_at, agent_id) and _may_be(where, task, final):
            chosen.append(number)
            if len(chosen) == most_candidates(where, limit):
                more = True
                break
    records, taken = await read_records(get, where, chosen, limit)
    if taken < len(chosen):
        last, more = chosen[taken - 1], True
    return Page(records, format_id(last) if more else "")


def _may_be(where: ListFilter, task: UnfinishedTask | None, final: int | None) -> bool:
    """Whether a task may have one of the states. A task that has just ended must be read again to be sure."""
    if where.asks_for_error and task is None and final == State.SUCCEEDED:
        return False
    if not where.states:
        return True
    if task is not None:
        return task.shown in where.states
    return final is None or State(final) in where.states


def _agent_of(task: UnfinishedTask) -> str:
    return "" if task.owner is None else task.owner.agent_id


async def _named(scan: Scan, get: Get, where: ListFilter, limit: int, below: int) -> Page:
    """Tasks with one request id, by its index; few share one."""
    known: list[KnownRequest] = await scan(
        lambda reader: list(reader.requests([request_key(where.request_id)]))
    )
    numbers = sorted((found.number for found in known if found.number < below), reverse=True)
    records, taken = await read_records(get, where, numbers, limit)
    return Page(records, format_id(numbers[taken - 1]) if taken < len(numbers) else "")


async def _running(
    table: TaskTable, get: Get, where: ListFilter, group: TaskGroup | None, limit: int, below: int
) -> Page:
    most = most_candidates(where, limit)
    numbers = nlargest(
        most,
        (
            task.number
            for task in table.leases.running()
            if task.number < below
            and task.saved is Saved.STORED
            and fits(where, task.spec.method, task.created_at, _agent_of(task))
            and (group is None or task.spec.group is group)
        ),
    )
    records, taken = await read_records(get, where, numbers, limit)
    more = taken < len(numbers) or len(numbers) == most
    return Page(records, format_id(numbers[taken - 1]) if more else "")
