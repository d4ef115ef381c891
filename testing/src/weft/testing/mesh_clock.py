"""The clock of a mesh under test: real time, and the jumps over idle time.

    moves with a jump        start times, backoffs, time limits of tasks, TTLs: all that the store decides by its clock
    stays in real time       gRPC deadlines, heartbeats, leases, graces, what handlers and tests sleep

Time jumps by itself while a caller waits for a task, once no task runs or is ready to run: to the time when the next task
is due. `advance` jumps from one such time to the next, and each task runs at its own.
"""

from __future__ import annotations

import asyncio
import time

from weft.coordinator.namespaces.namespace import Namespace
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore
from weft.coordinator.store.embedded.moved_clock import MovedClock

# How often to look at the mesh. If its state is the same in so many looks in a row, the mesh is at rest.
LOOK_S = 0.004
LOOKS = 3
# How long `advance` waits for running handlers, at each of its stops, in real time.
HANDLERS_S = 1.0


class MeshClock:
    """The clock. `now` is the store's clock; the mesh's event loop moves it."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._moving = asyncio.Lock()
        self._mesh: Namespace | None = None
        self._store: EmbeddedStore | None = None
        self._moved: MovedClock | None = None
        # Tasks with long handlers: `advance` does not wait for them again.
        self._left_running: frozenset[int] = frozenset()

    def now(self) -> float:
        """Seconds since the epoch, in the mesh."""
        return time.time() + self._ahead_s

    async def advance(self, seconds: float) -> None:
        """Let so much time pass in the mesh at once.

        The clock stops at each time at which a task is due. There it waits, in real time, until the tasks that became
        ready have run. A handler that takes longer than a second goes on running meanwhile.
        """
        if seconds < 0:
            raise ValueError(f"time cannot go back: {seconds:g} s")
        async with self._moving:
            end_at = self.now() + seconds
            self._left_running = frozenset()
            await self._parts()[0].run_passes()
            await self._settle()
            while (due_at := self._next_due_at()) is not None and due_at <= end_at:
                await self._jump(due_at)
                await self._settle()
            await self._jump(end_at)
            await self._settle()

    # -- for the mesh -------------------------------------------------------------------------------------------

    def attach(self, mesh: Namespace, store: EmbeddedStore) -> None:
        """Attach a mesh and its store, which are open."""
        self._mesh, self._store, self._moved = mesh, store, MovedClock(store)

    async def skip_idle_time(self) -> None:
        """Jump whenever a caller waits and nothing but time can change the state. Runs until it is cancelled."""
        mesh, _, _ = self._parts()
        seen: object = None
        looks = 0
        while True:
            await asyncio.sleep(LOOK_S)
            due_at = self._next_due_at()
            if due_at is None or self._moving.locked() or not mesh.subscribed_tasks() or self._busy():
                seen = None
                continue
            state = self._state()
            looks = looks + 1 if state == seen else 1
            seen = state
            if looks >= LOOKS:
                seen = None
                async with self._moving:
                    await self._jump(due_at)

    def _parts(self) -> tuple[Namespace, EmbeddedStore, MovedClock]:
        if self._mesh is None or self._store is None or self._moved is None:
            raise RuntimeError("the mesh of this clock does not run")
        return self._mesh, self._store, self._moved

    def _next_due_at(self) -> float | None:
        """When the next task or schedule is due."""
        mesh, _, moved = self._parts()
        due = [at for at in (moved.next_due_at(), mesh.next_pass_at) if at is not None]
        return min(due, default=None)

    def _busy(self) -> bool:
        """Whether a task runs, or is ready to run."""
        _, store, moved = self._parts()
        return bool(store.ready_depths() or moved.running() - self._left_running)

    def _state(self) -> object:
        _, store, moved = self._parts()
        return store.unfinished(), dict(store.ready_depths()), moved.running(), self._next_due_at()

    async def _jump(self, to: float) -> None:
        """Move the clock to a time, unless it is past it, sweep the store, and submit the tasks of schedules."""
        mesh, _, moved = self._parts()
        by_s = to - self.now()
        if by_s > 0:
            moved.jumps(by_s)
            self._ahead_s += by_s
        while True:
            report = await mesh.sweep()
            if not (report.promoted or report.expired or report.reclaimed or report.forgotten):
                break
        await mesh.run_passes()

    async def _settle(self) -> None:
        """Wait until the mesh is at rest: agents have the ready tasks, as far as they have room, and handlers have
        ended."""
        _, _, moved = self._parts()
        seen: object = None
        looks = 0
        patience_ends_s = time.monotonic() + HANDLERS_S
        while looks < LOOKS:
            await asyncio.sleep(LOOK_S)
            state = self._state()
            looks = looks + 1 if state == seen else 1
            seen = state
            running = moved.running()
            if running - self._left_running:
                looks = 0
                if time.monotonic() > patience_ends_s:
                    self._left_running = running
