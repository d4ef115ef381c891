"""The sweeper: lets the store do what time has brought, again and again. The store's rules decide; this only calls."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable

from weft.coordinator.store.base import Store
from weft.coordinator.store.records import Owner, SweepReport
from weft.rpc.errors import Unavailable, WeftError
from weft.rpc.logs import get_logger

log = get_logger(__name__)

SWEEP_TASKS = 250
# New timers are seen at the latest after this: how late a delay, a limit or a backoff may fire.
TICK_S = 0.05
# A sweep that is so late finds leases passed that nobody had the chance to renew.
LATE_S = 0.25
HOUSEKEEPING_S = 1.0
# Hastened housekeeping rests for so many times as long as it took: it reads the whole fleet.
RESTS = 4
FAILED_S = 0.25


class Sweeper:
    """Runs `store.sweep` when something is due.

    Args:
        wake: called when tasks became ready.
        lost: called with each session whose lease has passed.
        before_late: called with the monotonic time before a sweep that comes late: renews what can be renewed.
        housekeeping: called with the monotonic time every second or so, and soon after `hasten`.
    """

    def __init__(
        self,
        store: Store,
        *,
        wake: Callable[[], None],
        lost: Callable[[Owner], None],
        before_late: Callable[[float], Awaitable[None]],
        housekeeping: Callable[[float], Awaitable[None]],
    ) -> None:
        self._store = store
        self._before_late = before_late
        self._housekeeping = housekeeping
        self._housekeeping_at_s = 0.0
        self._wake = wake
        self._lost = lost
        self._hastened = asyncio.Event()
        # Until then housekeeping is not hastened.
        self._rested_at_s = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sweeper")

    def hasten(self) -> None:
        """Keep house now, or as soon as it has rested."""
        self._hastened.set()

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def run_once(self) -> SweepReport:
        """One sweep, and word of it to those whom it concerns."""
        report = await self._store.sweep(SWEEP_TASKS)
        if report.promoted or report.reclaimed:
            self._wake()
        if report.lost_owners:
            for owner in report.lost_owners:
                log.warning("agent.lost", agent=owner.agent_id, epoch=owner.epoch)
                self._lost(owner)
        return report

    async def _run(self) -> None:
        due_at_s = time.monotonic()
        while True:
            # With jitter: coordinators on one store take turns.
            pause_s = TICK_S * random.uniform(0.5, 1.0)  # noqa: S311
            try:
                now_s = time.monotonic()
                if now_s - due_at_s > LATE_S:
                    await self._before_late(now_s)
                if now_s >= self._housekeeping_due_s():
                    await self._keep_house(now_s)
                report = await self.run_once()
                if report.next_due_at is not None:
                    pause_s = min(pause_s, report.next_due_at - self._store.now())
            except WeftError as error:
                pause_s = FAILED_S
                if not isinstance(error, Unavailable):
                    # A store that is away or refuses says so itself.
                    log.warning("sweep.failed", error=error.message)
            except Exception:
                log.exception("sweep.failed")
            pause_s = max(0.001, pause_s)
            due_at_s = time.monotonic() + pause_s
            await self._rest(pause_s)

    def _housekeeping_due_s(self) -> float:
        return self._rested_at_s if self._hastened.is_set() else self._housekeeping_at_s

    async def _keep_house(self, now_s: float) -> None:
        self._hastened.clear()
        self._housekeeping_at_s = now_s + HOUSEKEEPING_S
        await self._housekeeping(now_s)
        ended_at_s = time.monotonic()
        self._rested_at_s = ended_at_s + RESTS * (ended_at_s - now_s)

    async def _rest(self, pause_s: float) -> None:
        """Sleep, but not when housekeeping is wanted and has rested."""
        if self._hastened.is_set():
            await asyncio.sleep(max(0.001, min(pause_s, self._rested_at_s - time.monotonic())))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._hastened.wait()
