"""The sweeper: runs the store's sweeps (promote, expire, reclaim, forget) when they are due. The store's rules decide."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from weft.coordinator.store.base import Store
from weft.coordinator.store.records import Owner, SweepReport
from weft.rpc.errors import Unavailable, WeftError
from weft.rpc.process.background_tasks import end_tasks
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

SWEEP_TASKS = 250
# A sweep at least this often: how late a delay, a limit or a backoff may fire.
TICK_S = 0.05
# The same for a shared store, which is asked over the network. It tells each coordinator the timers that this one has set; so
# only timers of a dead coordinator may fire this late.
SHARED_TICK_S = 0.5
# The same while a shared store has no agents and no unfinished tasks: then nothing can become due but what sweeps say.
RESTING_TICK_S = 2.0
# After a sweep this late, leases may have passed only because this process was paused.
LATE_S = 0.25
HOUSEKEEPING_S = 1.0
# Between hastened rounds of housekeeping, a pause of this many times the last round.
RESTS = 4
FAILED_S = 0.25
# A pause between two sweeps, for other work.
LEAST_S = 0.001


class Sweeper:
    """Runs `store.sweep` when a timer is due.

    Args:
        wake: called when tasks became ready.
        lost: called with each session whose lease has passed.
        before_late: called with the monotonic time before a late sweep, to renew leases.
        housekeeping: called with the monotonic time each second, and soon after `hasten`.
        rests: whether there are no agents, at any coordinator, and no unfinished tasks.
    """

    def __init__(
        self,
        store: Store,
        *,
        wake: Callable[[], None],
        lost: Callable[[Owner], None],
        before_late: Callable[[float], Awaitable[None]],
        housekeeping: Callable[[float], Awaitable[None]],
        rests: Callable[[], bool] = lambda: False,
    ) -> None:
        self._rests = rests
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
        # Set by `due` and `hasten`: the sweeper wakes up early.
        self._stirred = asyncio.Event()
        # Before this time, housekeeping is not hastened.
        self._rested_at_s = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sweeper")

    def hasten(self) -> None:
        """Run housekeeping now, or after its pause."""
        self._hastened.set()
        self._stirred.set()

    def due(self, at: float) -> None:
        """Sweep at this time at the latest, by the store's clock."""
        if at < self._sweeps_at:
            self._sweeps_at = at
            self._stirred.set()

    async def stop(self) -> None:
        if self._task is not None:
            await end_tasks(self._task)

    async def run_once(self) -> SweepReport:
        """One sweep; reports ready tasks and lost sessions."""
        report = await self._store.sweep(SWEEP_TASKS)
        if report.promoted or report.reclaimed:
            self._wake()
        if report.lost_owners:
            for owner in report.lost_owners:
                log.warning("agent.lost", agent_id=owner.agent_id, epoch=owner.epoch)
                self._lost(owner)
        return report

    async def _run(self) -> None:
        due_at_s = planned_s = time.monotonic()
        while True:
            try:
                now_s = time.monotonic()
                if now_s - due_at_s > LATE_S:
                    await self._before_late(now_s)
                if now_s >= self._housekeeping_due_s():
                    await self._keep_house(now_s)
                resting = self._store.shared and self._rests()
                # If it rests, housekeeping alone may have woken it.
                if not resting or now_s >= planned_s or self._store.now() >= self._sweeps_at:
                    planned_s = time.monotonic() + await self._sweep(resting=resting)
            except WeftError as error:
                planned_s = self._failed()
                if not isinstance(error, Unavailable):
                    # A store that is unavailable logs that itself.
                    log.warning("sweep.failed", error=error.message)
            except Exception:
                planned_s = self._failed()
                log.exception("sweep.failed")
            due_at_s = await self._rest(planned_s)

    async def _sweep(self, *, resting: bool) -> float:
        """Sweep; returns after how many seconds to do so again."""
        # With jitter: coordinators on one store take turns.
        tick_s = max(self._tick_s, RESTING_TICK_S) if resting else self._tick_s
        pause_s = tick_s * random.uniform(0.5, 1.0)  # noqa: S311
        self._sweeps_at = self._store.now() + pause_s
        report = await self.run_once()
        if report.next_due_at is not None:
            self._sweeps_at = min(self._sweeps_at, report.next_due_at)
        # A timer of the sweep's own time may be due sooner.
        return min(pause_s, self._sweeps_at - self._store.now())

    def _failed(self) -> float:
        """Try again in a moment; returns when, by the monotonic clock."""
        self._sweeps_at = max(self._sweeps_at, self._store.now() + FAILED_S)
        return time.monotonic() + FAILED_S

    def _housekeeping_due_s(self) -> float:
        return self._rested_at_s if self._hastened.is_set() else self._housekeeping_at_s

    async def _keep_house(self, now_s: float) -> None:
        self._hastened.clear()
        self._housekeeping_at_s = now_s + HOUSEKEEPING_S
        await self._housekeeping(now_s)
        ended_at_s = time.monotonic()
        self._rested_at_s = ended_at_s + RESTS * (ended_at_s - now_s)

    async def _rest(self, until_s: float) -> float:
        """Sleep until `until_s`, or until a sweep or housekeeping is due; returns the time that it slept for."""
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
