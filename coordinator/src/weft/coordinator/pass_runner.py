"""Runs passes over what is due in the store: the ticks of schedules, the callbacks of groups. A pass runs when its time comes, and when
something has changed. Every coordinator has a runner of each kind; none leads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from weft.coordinator.store.base import Store
from weft.rpc.errors import Unavailable, WeftError
from weft.rpc.process.background_tasks import end_tasks
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

# The store's clock is looked at so often, without I/O: it may be set forward.
LOOK_S = 0.5
# Coordinators on one store begin a pass up to so much later: the first one leaves the others nothing to do.
SPREAD_S = 0.03
RETRY_S = 0.5


class PassRunner:
    """Runs passes.

    Args:
        name: of its passes, in the log.
        run_pass: one pass; returns when the next one is due by the store's clock, or None.
    """

    def __init__(
        self,
        store: Store,
        run_pass: Callable[[], Awaitable[float | None]],
        name: str,
        rng: random.Random | None = None,
    ) -> None:
        self._name = name
        self._store = store
        self._run_pass = run_pass
        self._rng = rng or random.Random()  # noqa: S311  # jitter, not secrets
        # When the next pass is due, as far as is known.
        self.next_at: float | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)

    def changed(self) -> None:
        """Something has changed: look when the next pass is due."""
        self._wake.set()

    async def stop(self) -> None:
        if self._task is not None:
            await end_tasks(self._task)

    async def run_due(self) -> None:
        """Run passes until none is due."""
        while True:
            self.next_at = await self._run_pass()
            if self.next_at is None or self.next_at > self._store.now():
                return

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self.run_due()
            except WeftError as error:
                if not isinstance(error, Unavailable):
                    # A store that is unavailable logs that itself.
                    log.warning("passes.failed", passes=self._name, error=error.message)
                await asyncio.sleep(RETRY_S)
            except Exception:
                log.exception("passes.failed", passes=self._name)
                await asyncio.sleep(RETRY_S)
            else:
                await self._rest()

    async def _rest(self) -> None:
        """Wait until the next pass is due by the store's clock, or until something changes."""
        while not self._wake.is_set():
            left_s = None if self.next_at is None else self.next_at - self._store.now()
            if left_s is not None and left_s <= 0:
                if self._store.shared:
                    await asyncio.sleep(self._rng.uniform(0.0, SPREAD_S))
                return
            try:
                async with asyncio.timeout(None if left_s is None else min(left_s, LOOK_S)):
                    await self._wake.wait()
            except TimeoutError:
                continue
