"""Listings, the part that every store shares: what a filter says, whether a task matches it, and the reading of a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import DecodeError

from weft.coordinator.store.records import TaskRecord
from weft.coordinator.store.rules import State
from weft.rpc.errors import error_info
from weft.rpc.network.channel import BATCH_BYTES
from weft.v1 import task_pb2

# Tasks read at a time: each may have a large payload and a large outcome.
READ_RECORDS = 32
# Tasks that are read for a page, where a task must be read to see whether it matches.
MOST_READ = 256

# A store's own key of a task.
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Selects tasks: every field that is set must match."""

    states: frozenset[State] = frozenset()
    method: str = ""
    created_from: float | None = None
    created_to: float | None = None
    agent_id: str = ""
    request_id: str = ""
    # Name of a group.
    group: str = ""
    # Of the last failure: its code; its reason or the type of its exception; text within its message.
    error_codes: frozenset[int] = frozenset()
    error_reason: str = ""
    error_text: str = ""
    # The task that a caller outside of the mesh submitted, and below which it is.
    root_id: str = ""

    @property
    def needs_context(self) -> bool:
        """Whether a task's call context, which is beside its payload, must be read to see whether it matches."""
        return bool(self.root_id)

    @property
    def reads_tasks(self) -> bool:
        """Whether a task must be read to see whether it matches."""
        return self.asks_for_error or self.needs_context

    @property
    def asks_for_error(self) -> bool:
        """Whether only tasks with a failure can match."""
        return bool(self.error_codes or self.error_reason or self.error_text)


@dataclass(frozen=True, slots=True)
class Page:
    """Tasks, newest first, and the cursor of the next page; empty: this is the last page."""

    records: Sequence[TaskRecord]
    cursor: str = ""


def fits(where: ListFilter, method: str, created_at: float, agent_id: str) -> bool:
    """Whether a task matches in everything but its state and its failure."""
    return (
        (not where.method or method == where.method)
        and (where.created_from is None or created_at >= where.created_from)
        and (where.created_to is None or created_at < where.created_to)
        and (not where.agent_id or agent_id == where.agent_id)
    )


def matches(where: ListFilter, record: TaskRecord) -> bool:
    """Whether a task matches."""
    given = record.submission
    return (
        (not where.states or record.state in where.states)
        and fits(where, given.method, record.created_at, record.agent_id)
        and (not where.request_id or given.request_id == where.request_id)
        and (not where.group or given.group == where.group)
        and (not where.asks_for_error or _failed_so(where, record.outcome))
        and (not where.root_id or _is_below(where.root_id, given.context))
    )


def _is_below(root_id: str, context: bytes) -> bool:
    try:
        return bool(context) and task_pb2.CallContext.FromString(context).root_id == root_id
    except DecodeError:
        return False


def _failed_so(where: ListFilter, serialized: bytes) -> bool:
    try:
        outcome = task_pb2.Outcome.FromString(serialized)
    except DecodeError:
        return False
    status, raised = outcome.status, outcome.error
    if not status.code or (where.error_codes and status.code not in where.error_codes):
        return False
    if where.error_reason:
        info = error_info(status)
        if where.error_reason not in {"" if info is None else info.reason, raised.type}:
            return False
    text = where.error_text.casefold()
    return any(text in told.casefold() for told in (status.message, raised.type, raised.message))


def most_candidates(where: ListFilter, limit: int) -> int:
    """How many tasks are read for a page, to see whether they match."""
    return max(limit, MOST_READ) if where.reads_tasks else limit


async def read_records(
    get: Callable[[Sequence[Key]], Awaitable[Sequence[TaskRecord | None]]],
    where: ListFilter,
    chosen: Sequence[Key],
    limit: int,
) -> tuple[list[TaskRecord], int]:
    """The matching records of these tasks, as many as one message should carry, and how many tasks were read."""
    records: list[TaskRecord] = []
    size_bytes = taken = 0
    for at in range(0, len(chosen), READ_RECORDS):
        for record in await get(chosen[at : at + READ_RECORDS]):
            if size_bytes > BATCH_BYTES or len(records) == limit:
                return records, taken
            taken += 1
            if record is None:
                continue
            # Also for a task that does not match: it was read.
            size_bytes += len(record.outcome) + len(record.submission.payload)
            # Its state may have changed since.
            if matches(where, record):
                records.append(record)
    return records, taken
