"""Calls of several kinds that run all the time while something changes, and what became of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

Call = Callable[[], Awaitable[object]]


class Load:
    """Calls of several kinds, some of each at a time, until it is stopped."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()
        self.failed: list[str] = []
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def add(self, kind: str, call: Call, at_a_time: int = 2) -> None:
        for _ in range(at_a_time):
            self._tasks.append(asyncio.get_running_loop().create_task(self._run(kind, call)))

    async def _run(self, kind: str, call: Call) -> None:
        while not self._stopped.is_set():
            try:
                await call()
            except Exception as error:
                self.failed.append(f"{kind}: {error!r}")
            self.made[kind] += 1
            # Gently: what counts is that some calls are always under way.
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        self._stopped.set()
        await asyncio.gather(*self._tasks)
