"""Tasks that have ended and wait to be delivered on a stream: in memory as far as they fit, the rest by id alone.

A client that reads slowly must not make the coordinator hold its results: what the store has can be read again.
"""

from __future__ import annotations

from collections import deque

from weft.coordinator.store.base import Store
from weft.coordinator.store.records import TaskRecord
from weft.rpc.network.channel import BATCH_BYTES, BATCH_ITEMS

# Of outcomes, for one stream.
KEPT_BYTES = 4 * 1024 * 1024
# What a task takes in a message beside its outcome, about.
_ITEM_BYTES = 128


class EndedTasks:
    """A queue of ended tasks. `len` counts all that wait."""

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
        """The next ones, as many as fit one message; empty when those that waited were forgotten meanwhile."""
        batch: list[TaskRecord] = []
        size_bytes = 0
        while self._waiting and len(batch) < BATCH_ITEMS and size_bytes < BATCH_BYTES:
            item = self._waiting.popleft()
            if isinstance(item, str):
                record = (await self._store.get([item], payloads=False))[0]
                # Its time may have passed, or somebody may have had it queued again.
                if record is None or not record.state.terminal:
                    continue
            else:
                record = item
                self._kept_bytes -= len(record.outcome)
            size_bytes += len(record.outcome) + _ITEM_BYTES
            batch.append(record)
        return batch
