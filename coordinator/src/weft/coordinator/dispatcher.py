"""The dispatcher: who gets what. It coalesces wake-ups into passes; a pass is one plan and one claim for everybody.

something is ready ─┐
a slot came free  ──┼─► wake ─► pass: free sessions × ready queues ─► plan ─► store.claim ─► session.assign
an agent came     ──┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from weft.coordinator.placement import Candidate, LeastConnections, Strategy, plan
from weft.coordinator.rules import QueueKey
from weft.coordinator.session import Session
from weft.coordinator.sessions import Sessions
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import AttemptRef, Claimed, ClaimRequest
from weft.rpc.errors import WeftError

log = structlog.get_logger(__name__)

# Most tasks that one pass hands out: what comes after it is not kept waiting for long.
PASS_TASKS = 1024
# After a claim failed, and as a backstop should a wake-up ever be missed.
RETRY_S = 0.5
IDLE_S = 1.0


class Dispatcher:
    """Runs passes for as long as there is something to hand out and somebody to take it."""

    def __init__(self, store: Store, sessions: Sessions, strategy: Strategy | None = None) -> None:
        self._store = store
        self._sessions = sessions
        self._strategy = strategy or LeastConnections()
        self._wake = asyncio.Event()
        self._turn = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Something changed that may let a task be handed out."""
        if not self._wake.is_set() and self._store.ready_depths():
            self._wake.set()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="dispatcher")
        self._backstop()

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _backstop(self) -> None:
        # One timer for good instead of one for each wait: this is the hot path.
        self._wake.set()
        self._timer = asyncio.get_running_loop().call_later(IDLE_S, self._backstop)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                if await self.run_pass():
                    self._wake.set()
            except WeftError as error:
                log.warning("dispatch.claim_failed", error=error.message)
                loop.call_later(RETRY_S, self._wake.set)
            except Exception:
                log.exception("dispatch.failed")
                loop.call_later(RETRY_S, self._wake.set)

    async def run_pass(self) -> bool:
        """Hand out what can be handed out now; True when there may be more at once."""
        if not self._store.writable:
            return False
        ready = self._store.ready_depths()
        if not ready:
            return False
        takers, candidates = self._candidates(ready)
        if not candidates:
            return False
        self._turn += 1
        limits = plan(_bounded(ready), candidates, self._strategy, self._turn)
        requests = [
            ClaimRequest(takers[index].owner, candidates[index].costs, candidates[index].free_slots, limit)
            for index, limit in limits
        ]
        if not requests:
            return False
        claimed = await self._store.claim(requests)
        total = 0
        for (index, _), batch in zip(limits, claimed, strict=True):
            if batch:
                total += len(batch)
                await self._hand_over(takers[index], batch)
        return total >= PASS_TASKS

    def _candidates(self, ready: Mapping[QueueKey, int]) -> tuple[list[Session], list[Candidate]]:
        takers: list[Session] = []
        candidates: list[Candidate] = []
        for session in self._sessions.taking_work():
            free = session.free_slots
            if free <= 0:
                continue
            costs = session.costs(ready)
            if costs:
                candidates.append(
                    Candidate(len(takers), free, session.busy_slots, session.slots, costs, session.weight)
                )
                takers.append(session)
        return takers, candidates

    async def _hand_over(self, session: Session, batch: Sequence[Claimed]) -> None:
        if session.open:
            session.assign(batch, self._store.now())
        else:
            # It closed while the claim was under way: the agent never heard of these.
            await self._store.release(session.owner, [AttemptRef(c.task_id, c.attempt) for c in batch])


def _bounded(ready: Mapping[QueueKey, int]) -> dict[QueueKey, int]:
    """The depths, cut so that a pass hands out about PASS_TASKS at the most."""
    share = max(1, PASS_TASKS // max(1, len(ready)))
    return {key: min(depth, share) for key, depth in ready.items()}
