"""The stores that the conformance suite and the state machine run against: a new one is added here."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.store.support import Harness, ManualClock, RecordingListener, StoreFactory
from weft.coordinator.store.embedded import EmbeddedStore


class EmbeddedFactory:
    """Embedded stores in a directory. A crash is a copy of the files as they are, which is what a kill leaves."""

    durable = True

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self._directory = directory
        self._count = 0
        self._opened: list[EmbeddedStore] = []
        self._paths: dict[int, Path] = {}

    async def open(self) -> Harness:
        return await self._open(self._new_path())

    async def reopen(self, harness: Harness, *, crash: bool) -> Harness:
        store = harness.store
        assert isinstance(store, EmbeddedStore)
        path = self._paths[id(store)]
        if crash:
            copy = self._new_path()
            for suffix in ("", "-wal"):
                shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
            path = copy
        await store.close()
        self._opened.remove(store)
        return await self._open(path)

    def _new_path(self) -> Path:
        self._count += 1
        return self._directory / f"store-{self._count}.db"

    async def _open(self, path: Path) -> Harness:
        store = EmbeddedStore(path, clock=self.clock, rng=random.Random(7))
        listener = RecordingListener()
        await store.open(listener)
        self._opened.append(store)
        self._paths[id(store)] = path
        return Harness(store, self.clock, listener)

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


FACTORIES: dict[str, Callable[[Path], StoreFactory]] = {"embedded": EmbeddedFactory}
