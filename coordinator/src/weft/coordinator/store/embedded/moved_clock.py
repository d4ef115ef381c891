"""The facts of an open embedded store for a clock that jumps: tests let hours pass in a moment.

A jump changes tasks, but not agents: these live in real time, and must not seem lost after a jump.
"""

from __future__ import annotations

from weft.coordinator.store.embedded.embedded_store import EmbeddedStore
from weft.coordinator.store.embedded.unfinished_task import NEVER


class MovedClock:
    """Looks at a store whose clock jumps. Used on the store's event loop; costs no I/O."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store

    def running(self) -> frozenset[int]:
        """The numbers of the tasks that agents hold."""
        return frozenset(task.number for task in self._store._core.table.leases.running())

    def next_due_at(self) -> float | None:
        """The next time at which an unfinished task is due, by the store's clock. May be too early, never too late."""
        next_at = self._store._core.table.timers.next_at
        return None if next_at == NEVER else next_at

    def jumps(self, by_s: float) -> None:
        """Prepare for a jump of the clock: let leases end so much later."""
        self._store._core.table.leases.extend(by_s)
