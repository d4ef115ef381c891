"""Sweeps: ended leases, passed delays and limits, the end of a recovery, expired tasks."""

from __future__ import annotations

import contextlib

from weft.coordinator.store.embedded.agent_table import AgentTable
from weft.coordinator.store.embedded.attempt_moves import AttemptMoves
from weft.coordinator.store.embedded.cancelling import cancel_calls
from weft.coordinator.store.embedded.core import StoreCore
from weft.coordinator.store.embedded.recovery import RecoveryBarrier
from weft.coordinator.store.embedded.retention import Purged, purge
from weft.coordinator.store.embedded.unfinished_task import NEVER
from weft.coordinator.store.records import Owner, SweepReport
from weft.rpc.errors import Unavailable


class Sweeping:
    """Sweeps a store; knows when the next task expires."""

    def __init__(
        self,
        core: StoreCore,
        attempts: AttemptMoves,
        agents: AgentTable,
        barrier: RecoveryBarrier,
        next_expiry_at: float | None,
    ) -> None:
        self._core = core
        self._attempts = attempts
        self._agents = agents
        self._barrier = barrier
        self._next_expiry_at = NEVER if next_expiry_at is None else next_expiry_at

    def expires(self, at: float) -> None:
        """An ended task will expire then."""
        self._next_expiry_at = min(self._next_expiry_at, at)

    async def sweep(self, limit: int) -> SweepReport:
        """Handle about `limit` tasks of each kind. If more is due, the next sweep is due at once."""
        core, now = self._core, self._core.clock()
        reclaimed, lost = self._reclaim(now, limit)
        promoted = expired = 0
        for task in core.table.timers.due(now, limit):
            if self._attempts.expire(task, now):
                expired += 1
            else:
                promoted += 1
            core.table.timers.arm(task)
        cancel_calls(core.table, now, limit)
        core.table.gates.tick(now)
        core.table.groups.forget(now, limit)
        lost += self._barrier.release(now)
        forgotten = 0
        with contextlib.suppress(Unavailable):
            # While the file cannot be written, time passes in memory; its changes are written later.
            if self._next_expiry_at <= now and core.journal.writable:
                forgotten = await self._forget(now, limit)
            if core.journal.writable:
                await core.journal.stored()
        return SweepReport(promoted, expired, reclaimed, forgotten, lost, self._next_due_at(now))

    def _reclaim(self, now: float, limit: int) -> tuple[int, list[Owner]]:
        """End leases that have passed, and reclaim attempts of ended sessions."""
        lost = []
        for lease in self._core.table.leases.passed(now, limit):
            self._core.table.leases.drop(lease, as_crashes=True)
            self._agents.ended(lease.owner, left=False)
            lost.append(lease.owner)
        return self._attempts.reclaim(now, limit), lost

    async def _forget(self, now: float, limit: int) -> int:
        self._next_expiry_at = NEVER
        try:
            purged: Purged = await self._core.journal.run(lambda connection: purge(connection, now, limit))
        except Unavailable:
            self._next_expiry_at = now
            raise
        self._core.table.groups.forgotten(purged.grouped)
        if purged.next_at is not None:
            self.expires(purged.next_at)
        return purged.tasks

    def _next_due_at(self, now: float) -> float | None:
        table = self._core.table
        if table.calls.to_cancel:
            return now
        next_at = min(
            table.timers.next_at,
            table.leases.next_at,
            table.gates.next_at,
            table.groups.next_at,
            self._barrier.next_at(now),
            self._next_expiry_at,
        )
        return None if next_at == NEVER else next_at
