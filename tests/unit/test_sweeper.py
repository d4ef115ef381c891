"""When the sweeper sweeps: when something is due, as soon as it hears of that, and else seldom."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from weft.coordinator.dispatch import sweeper as module
from weft.coordinator.dispatch.sweeper import Sweeper
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import SweepReport


class CountingStore:
    """What a sweeper asks of a store; `next_due_at` is what sweeps answer."""

    shared = True

    def __init__(self) -> None:
        self.sweeps: list[float] = []
        self.next_due_at: float | None = None
        self._swept = asyncio.Event()

    def now(self) -> float:
        return time.time()

    async def sweep(self, limit: int) -> SweepReport:
        del limit
        self.sweeps.append(self.now())
        self._swept.set()
        due_at, self.next_due_at = self.next_due_at, None
        return SweepReport(next_due_at=due_at)

    async def swept(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.sweeps) < count:
                self._swept.clear()
                await self._swept.wait()


async def test_it_sweeps_when_something_is_due_and_else_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARED_TICK_S", 600.0)
    monkeypatch.setattr(module, "HOUSEKEEPING_S", 600.0)
    store = CountingStore()
    kept: list[float] = []

    async def keep(now_s: float) -> None:
        kept.append(now_s)

    sweeper = Sweeper(
        cast("Store", store), wake=lambda: None, lost=lambda _: None, before_late=keep, housekeeping=keep
    )
    sweeper.start()
    try:
        await store.swept(1)
        await asyncio.sleep(0.1)
        assert len(store.sweeps) == 1
        # Word of something that is due soon, twice, and of something later.
        at = store.now() + 0.1
        for due_at in (at + 5.0, at, at + 0.05):
            sweeper.due(due_at)
        store.next_due_at = at + 0.05
        await store.swept(3)
        assert store.sweeps[1] >= at - 0.01
        assert store.sweeps[2] >= at + 0.04
        # What is due is swept as long as there is some.
        store.next_due_at = 0.0
        sweeper.due(0.0)
        await store.swept(5)
        await asyncio.sleep(0.05)
        assert len(store.sweeps) == 5
        # Housekeeping that is wanted does not wait for a sweep.
        before = len(kept)
        sweeper.hasten()
        async with asyncio.timeout(10):
            while len(kept) == before:
                await asyncio.sleep(0.01)
    finally:
        await sweeper.stop()


async def test_it_rests_while_there_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARED_TICK_S", 0.01)
    monkeypatch.setattr(module, "RESTING_TICK_S", 600.0)
    monkeypatch.setattr(module, "HOUSEKEEPING_S", 0.01)
    store, resting, kept = CountingStore(), [True], asyncio.Event()

    async def keep(_: float) -> None:
        kept.set()

    sweeper = Sweeper(
        cast("Store", store),
        wake=lambda: None,
        lost=lambda _: None,
        before_late=keep,
        housekeeping=keep,
        rests=lambda: resting[0],
    )
    sweeper.start()
    try:
        await store.swept(1)
        # Housekeeping goes on, without sweeps.
        for _ in range(5):
            kept.clear()
            async with asyncio.timeout(10):
                await kept.wait()
        assert len(store.sweeps) == 1
        # What is due is swept all the same.
        sweeper.due(store.now() + 0.05)
        await store.swept(2)
        await asyncio.sleep(0.05)
        assert len(store.sweeps) == 2
        # Work comes, and changes of the fleet hasten housekeeping.
        resting[0] = False
        sweeper.hasten()
        await store.swept(6)
    finally:
        await sweeper.stop()
