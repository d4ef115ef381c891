"""What a claim checks beside priority, age and slots: gates, the agent's resources, the fair order.

A claim has a guard only if some task may need one: without gates, keys and resources a claim pays one check a task for it.
"""

from __future__ import annotations

from types import TracebackType

from weft.coordinator.store.embedded.task_table import TaskTable
from weft.coordinator.store.embedded.unfinished_task import UnfinishedTask
from weft.coordinator.store.records import ClaimRequest
from weft.coordinator.store.rules import HIGHEST_PRIORITY
from weft.coordinator.store.run_limits import MAX_PARKED

# States that one claim reads, on the event loop.
_STATE_BYTES = 4 * 1024 * 1024


class ClaimGuard:
    """The guard of one claim, as a context: tasks return to their queues when it is over."""

    def __init__(self, table: TaskTable, request: ClaimRequest, now: float) -> None:
        self._table = table
        self._gates = table.gates
        self._left = dict(request.left)
        self._now = now
        self._parked = 0
        # Resources of which the best task needs more than is left.
        self.closed: set[str] = set()
        # Bytes of the states that the claimed attempts get.
        self.state_bytes = 0

    def __enter__(self) -> None:
        self._gates.begin(self._now)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._gates.finish()
        if self.full:
            # More tasks may be ready behind the parked ones.
            self._table.listener.ready()

    @property
    def full(self) -> bool:
        """Whether the claim has parked as many tasks as one may, or carries enough: it ends."""
        return self._parked >= MAX_PARKED or self.state_bytes >= _STATE_BYTES

    def admits(self, task: UnfinishedTask, cost: int, slots: int) -> bool | None:
        """Take everything that a ready task needs. False: the claim goes on without it. None: the claim ends with it."""
        queue, rank = task.spec.queue, HIGHEST_PRIORITY - task.spec.priority
        if task.gates is not None and task.gates.parked:
            # A stale item: the task was released once, and is parked since.
            queue.take(rank)
            return False
        found = self._gates.check(task, self._now)
        if found is None:
            self._parked += 1
            return None if self.full else False
        if cost > slots:
            return None
        if queue.consumes:
            requirements = queue.key.requirements
            if not requirements.fits(self._left):
                self.closed |= queue.consumes
                return False
            for name, amount in requirements.consumes:
                self._left[name] -= amount
        if found:
            self._gates.take(task, found)
        queue.claimed(rank)
        return True
