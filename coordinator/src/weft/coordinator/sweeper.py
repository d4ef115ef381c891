"""The sweeper: lets the store do what time has brought, again and again. The store's rules decide; this only calls."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog

from weft.coordinator.store.base import Store
from weft.coordinator.store.records import SweepReport
from weft.rpc.errors import Unavailable, WeftError

log = structlog.get_logger(__name__)

SWEEP_TASKS = 250
# New timers are seen at the latest after this: how late a delay, a limit or a backoff may fire.
TICK_S = 0.05
# A sweep that is so late finds leases passed that nobody had the chance to renew.
LATE_S = 0.25
HOUSEKEEPING_S = 1.0
FAILED_S = 0.25


class Sweeper:
    """Runs `store.sweep` when something is due.

    Args:
        wake: called when tasks became ready.
        agents_changed: called when agents were lost.
        before_late: called with the monotonic time before a sweep that comes late: renews what can be renewed.
        housekeeping: called with the monotonic time every few seconds: forgets what is of no use any more.
    """

    def __init__(
        self,
        store: Store,
        *,
        wake: Callable[[], None],
        agents_changed: Callable[[], None],
        before_late: Callable[[float], Awaitable[None]],
        housekeeping: Callable[[float], Awaitable[None]],
    ) -> None:
        self._store = store
        self._before_late = before_late
        self._housekeeping = housekeeping
        self._housekeeping_at_s = 0.0
        self._wake = wake
        self._agents_changed = agents_changed
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sweeper")

    def hasten(self) -> None:
        """Keep house at the next sweep."""
        self._housekeeping_at_s = 0.0

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
            self._agents_changed()
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
                if now_s >= self._housekeeping_at_s:
                    self._housekeeping_at_s = now_s + HOUSEKEEPING_S
                    await self._housekeeping(now_s)
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
            await asyncio.sleep(pause_s)
