"""Ended tasks that wait for a stream: in memory up to a bound, the others by id alone.

So a client that reads slowly costs the coordinator little memory: results are read from the store again.
"""

from __future__ import annotations

from collections import deque

from weft.coordinator.store.base import Store
from weft.coordinator.store.records import TaskRecord
from weft.rpc.network.channel import BATCH_BYTES, BATCH_ITEMS

# Outcomes in memory, for one stream.
KEPT_BYTES = 4 * 1024 * 1024
# The size of a task in a message beside its outcome, about.
_ITEM_BYTES = 128


class EndedTasks:
    """A queue of ended tasks; `len` is its length."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[TaskRecord | str] = deque()
        self._kept_bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, record: TaskRecord) -> None:
        if self._kept_bytes > KEPT_BYTES:
            self._waiting.append(record.task_id)
        else:
            self._kept_bytes += len(record.outcome)
            self._waiting.append(record)

    async def take(self) -> list[TaskRecord]:
        """The next tasks, as many as fit one message; empty if the store has forgotten them."""
        batch: list[TaskRecord] = []
        size_bytes = 0
        while self._waiting and len(batch) < BATCH_ITEMS and size_bytes < BATCH_BYTES:
            item = self._waiting.popleft()
            if isinstance(item, str):
                record = (await self._store.get([item], payloads=False))[0]
                # Its TTL may have passed, or RetryTask may have queued it again.
                if record is None or not record.state.terminal:
                    continue
            else:
                record = item
                self._kept_bytes -= len(record.outcome)
            size_bytes += len(record.outcome) + _ITEM_BYTES
            batch.append(record)
        return batch
