"""A coordinator without agents asks its store for nothing, and knows all the same when that does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

import pytest

from weft.coordinator.sessions import heartbeats as module
from weft.coordinator.sessions.heartbeats import Heartbeats
from weft.coordinator.settings import CoordinatorSettings
from weft.coordinator.store.base import Store
from weft.rpc.errors import Unavailable


class QuietStore:
    """A shared store that is asked for nothing; it says when it last answered something else."""

    shared = True
    answers = True

    @property
    def answered_at_s(self) -> float:
        return time.monotonic() if self.answers else 0.0


async def test_it_asks_nothing_without_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ABSENT_S", 0.1)
    store = QuietStore()
    settings = CoordinatorSettings(store="unused", heartbeat_interval_s=0.1)
    heartbeats = Heartbeats(cast("Store", store), settings, list)
    heartbeats.start()

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)

    try:
        # Longer than a lease.
        await asyncio.sleep(0.4)
        heartbeats.check_store()
        store.answers = False
        await until(lambda: heartbeats.store_lost)
        with pytest.raises(Unavailable):
            heartbeats.check_store()
        store.answers = True
        await until(lambda: not heartbeats.store_lost)
    finally:
        await heartbeats.stop()
