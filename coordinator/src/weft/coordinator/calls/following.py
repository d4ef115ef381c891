"""Follows one task: its snapshots and its progress, in order and without a gap, until it has ended."""

from __future__ import annotations

from collections.abc import AsyncIterator

from weft.coordinator.calls.task_subscriptions import Follower, TaskSubscriptions
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import ProgressRow, TaskRecord
from weft.rpc import refusals

READ_ROWS = 256


async def follow(
    store: Store, subscriptions: TaskSubscriptions, task_id: str, after: int, follower: Follower | None = None
) -> AsyncIterator[TaskRecord | ProgressRow]:
    """Snapshots and progress above the sequence `after`; the last item is the record of the task's end.

    Args:
        follower: registered before the task was stored; unregistered here.

    Raises:
        NotFound: TASK_NOT_FOUND.
    """
    follower = follower or subscriptions.follow(task_id)
    try:
        record = (await store.get([task_id], payloads=False))[0]
        if record is None:
            raise refusals.task_not_found(task_id)
        while True:
            # The snapshot's progress comes before the end of a task, and after any other snapshot.
            if not record.state.terminal:
                yield record
            async for row in _progress(store, follower, task_id, after, record.progress_count):
                after = row.sequence
                yield row
                follower.read(row)
            if record.state.terminal:
                yield record
                return
            while follower.record is None and not follower.rows:
                await follower.wait()
            while follower.rows:
                row = follower.take()
                if row.sequence == after + 1:
                    after = row.sequence
                    yield row
                    follower.read(row)
                elif row.sequence > after:
                    # The buffer overflowed: read the missing progress.
                    async for missing in _progress(store, follower, task_id, after, row.sequence):
                        after = missing.sequence
                        yield missing
                        follower.read(missing)
            if follower.record is not None:
                record, follower.record = follower.record, None
    finally:
        subscriptions.unfollow(follower)


async def _progress(
    store: Store, follower: Follower, task_id: str, after: int, until: int
) -> AsyncIterator[ProgressRow]:
    while after < until:
        rows = await store.read_progress(task_id, after, READ_ROWS)
        if not rows:
            return
        for row in rows:
            after = row.sequence
            yield row
    while follower.rows and follower.rows[0].sequence <= after:
        follower.take()
