"""What listings of every store share: what fits a filter whatever the state, and reading the tasks of a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from weft.coordinator.store.records import ListFilter, TaskRecord
from weft.rpc.channel import BATCH_BYTES

# Tasks that are read at a time: each may have a large payload and a large outcome.
READ_RECORDS = 32

# What a store calls a task by.
Key = TypeVar("Key")


def fits(where: ListFilter, method: str, created_at: float) -> bool:
    """Whether a task of this method and age matches, its state aside."""
    return (
        (not where.method or method == where.method)
        and (where.created_from is None or created_at >= where.created_from)
        and (where.created_to is None or created_at < where.created_to)
    )


async def read_records(
    get: Callable[[Sequence[Key]], Awaitable[Sequence[TaskRecord | None]]],
    where: ListFilter,
    chosen: Sequence[Key],
) -> tuple[list[TaskRecord], int]:
    """The records of these tasks, as many as one message should carry, and how many were looked at for them."""
    records: list[TaskRecord] = []
    size_bytes = taken = 0
    for at in range(0, len(chosen), READ_RECORDS):
        for record in await get(chosen[at : at + READ_RECORDS]):
            if size_bytes > BATCH_BYTES:
                return records, taken
            taken += 1
            # Its state may have changed since.
            if record is not None and (not where.states or record.state in where.states):
                records.append(record)
                size_bytes += len(record.outcome) + len(record.submission.payload)
    return records, taken
