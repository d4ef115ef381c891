"""The sweeper: lets the store do what time has brought, again and again. The store's rules decide; this only calls."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from weft.coordinator.store.base import Store
from weft.coordinator.store.records import Owner, SweepReport
from weft.rpc.errors import Unavailable, WeftError
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

SWEEP_TASKS = 250
# New timers are seen at the latest after this: how late a delay, a limit or a backoff may fire.
TICK_S = 0.05
# With a shared store, which is asked over the network and tells each coordinator of the timers that it set itself: how late
# those of one may fire that has died since.
SHARED_TICK_S = 0.5
# A sweep that is so late finds leases passed that nobody had the chance to renew.
LATE_S = 0.25
HOUSEKEEPING_S = 1.0
# Hastened housekeeping rests for so many times as long as it took: it reads the whole fleet.
RESTS = 4
FAILED_S = 0.25
# Others have their turn between two sweeps.
LEAST_S = 0.001


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
        self._tick_s = SHARED_TICK_S if store.shared else TICK_S
        # The next sweep, by the store's clock.
        self._sweeps_at = 0.0
        self._hastened = asyncio.Event()
        # There is a reason not to sleep on: `due`, or `hasten`.
        self._stirred = asyncio.Event()
        # Until then housekeeping is not hastened.
        self._rested_at_s = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sweeper")

    def hasten(self) -> None:
        """Keep house now, or as soon as it has rested."""
        self._hastened.set()
        self._stirred.set()

    def due(self, at: float) -> None:
        """Sweep at this time, by the store's clock, where the next sweep would come later."""
        if at < self._sweeps_at:
            self._sweeps_at = at
            self._stirred.set()

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
            pause_s = self._tick_s * random.uniform(0.5, 1.0)  # noqa: S311
            self._sweeps_at = self._store.now() + pause_s
            try:
                now_s = time.monotonic()
                if now_s - due_at_s > LATE_S:
                    await self._before_late(now_s)
                if now_s >= self._housekeeping_due_s():
                    await self._keep_house(now_s)
                report = await self.run_once()
                if report.next_due_at is not None:
                    self._sweeps_at = min(self._sweeps_at, report.next_due_at)
                # Timers that were set meanwhile may be sooner.
                pause_s = min(pause_s, self._sweeps_at - self._store.now())
            except WeftError as error:
                pause_s = FAILED_S
                if not isinstance(error, Unavailable):
                    # A store that is away or refuses says so itself.
                    log.warning("sweep.failed", error=error.message)
            except Exception:
                log.exception("sweep.failed")
            due_at_s = await self._rest(time.monotonic() + pause_s)

    def _housekeeping_due_s(self) -> float:
        return self._rested_at_s if self._hastened.is_set() else self._housekeeping_at_s

    async def _keep_house(self, now_s: float) -> None:
        self._hastened.clear()
        self._housekeeping_at_s = now_s + HOUSEKEEPING_S
        await self._housekeeping(now_s)
        ended_at_s = time.monotonic()
        self._rested_at_s = ended_at_s + RESTS * (ended_at_s - now_s)

    async def _rest(self, until_s: float) -> float:
        """Sleep until then, or until a sweep or housekeeping is due; gives when that was, by the monotonic clock."""
        while True:
            self._stirred.clear()
            now_s = time.monotonic()
            sweep_s = now_s + self._sweeps_at - self._store.now()
            wake_s = max(now_s + LEAST_S, min(until_s, sweep_s, self._housekeeping_due_s()))
            try:
                async with asyncio.timeout(wake_s - now_s):
                    await self._stirred.wait()
            except TimeoutError:
                return wake_s
