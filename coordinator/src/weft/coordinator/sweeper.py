"""The sweeper: lets the store do what time has brought, again and again. The store's rules decide; this only calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from weft.coordinator.store.base import Store, SweepReport
from weft.rpc.errors import WeftError

log = structlog.get_logger(__name__)

SWEEP_TASKS = 250
# New timers are seen at the latest after this: how late a delay, a limit or a backoff may fire.
TICK_S = 0.05


class Sweeper:
    """Runs `store.sweep` when something is due."""

    def __init__(self, store: Store, *, wake: Callable[[], None], agents_changed: Callable[[], None]) -> None:
        self._store = store
        self._wake = wake
        self._agents_changed = agents_changed
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sweeper")

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
        while True:
            pause_s = TICK_S
            try:
                report = await self.run_once()
                if report.next_due_at is not None:
                    pause_s = min(pause_s, report.next_due_at - self._store.now())
            except WeftError as error:
                log.warning("sweep.failed", error=error.message)
            except Exception:
                log.exception("sweep.failed")
            await asyncio.sleep(max(0.001, pause_s))
