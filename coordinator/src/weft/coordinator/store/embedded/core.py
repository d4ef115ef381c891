"""The parts of an open embedded store, for the modules that act on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from weft.coordinator.store.embedded.journal import Journal
from weft.coordinator.store.embedded.reader import Reader
from weft.coordinator.store.embedded.task_table import TaskTable

T = TypeVar("T")

# Largest read on the event loop: a few microseconds a row.
_INLINE_ROWS = 8


class ReaderPool:
    """Two connections for reading: one for the event loop, one for the reading thread."""

    def __init__(self, path: Path) -> None:
        self.inline = Reader(path)
        self._threaded = Reader(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="weft-store-reader")

    async def read(self, query: Callable[[Reader], T], *, rows: int) -> T:
        """Run a query: for few rows on the event loop, else on the reading thread."""
        if rows <= _INLINE_ROWS:
            return query(self.inline)
        return await asyncio.get_running_loop().run_in_executor(self._thread, query, self._threaded)

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        self.inline.close()
        self._threaded.close()


@dataclass(frozen=True, slots=True)
class StoreCore:
    """The parts."""

    table: TaskTable
    journal: Journal
    readers: ReaderPool
    clock: Callable[[], float]
