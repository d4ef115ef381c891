"""The dispatcher: who gets what. It coalesces wake-ups into passes; a pass is one plan and one claim for everybody.

something is ready ─┐
a slot came free  ──┼─► wake ─► pass: ready queues × their best takers ─► plan ─► store.claim ─► session.assign
an agent came     ──┘
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from weft.coordinator.placement import Candidate, LeastConnections, Strategy, plan
from weft.coordinator.rules import QueueKey
from weft.coordinator.session import Session
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import AttemptRef, Claimed, ClaimRequest
from weft.coordinator.takers import Takers
from weft.rpc.errors import WeftError
from weft.rpc.logs import get_logger

log = get_logger(__name__)

# Most tasks that one pass hands out: what comes after it is not kept waiting for long.
PASS_TASKS = 1024
# After a claim failed, and as a backstop should a wake-up ever be missed.
RETRY_S = 0.5
IDLE_S = 1.0


class Dispatcher:
    """Runs passes for as long as there is something to hand out and somebody to take it."""

    def __init__(self, store: Store, takers: Takers, strategy: Strategy | None = None) -> None:
        self._store = store
        self._takers = takers
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
        ready = _bounded(ready)
        takers = self._best(ready)
        if not takers:
            return False
        try:
            total = await self._hand_out(ready, takers)
        finally:
            for session in takers:
                self._takers.changed(session)
        # With several queues one may have had to leave its best agents to another, and there are more.
        return total >= PASS_TASKS or (total > 0 and len(ready) > 1)

    def _best(self, ready: Mapping[QueueKey, int]) -> dict[Session, dict[QueueKey, int]]:
        """For each queue as many agents as it has tasks, the best ones; and what one of its tasks costs there."""
        now_s = time.monotonic()
        takers: dict[Session, dict[QueueKey, int]] = {}
        for key, depth in ready.items():
            for session in self._takers.take(key, depth, now_s):
                takers.setdefault(session, {})[key] = session.cost(key.method)
        return takers

    async def _hand_out(
        self, ready: Mapping[QueueKey, int], takers: Mapping[Session, Mapping[QueueKey, int]]
    ) -> int:
        """Plan, claim, and give what was claimed to the agents; says how much."""
        sessions = list(takers)
        candidates = [
            Candidate(at, each.free_slots, each.busy_slots, each.slots, takers[each], each.weight)
            for at, each in enumerate(sessions)
        ]
        self._turn += 1
        limits = plan(ready, candidates, self._strategy, self._turn)
        requests = [
            ClaimRequest(sessions[at].owner, candidates[at].costs, candidates[at].free_slots, limit)
            for at, limit in limits
        ]
        total = 0
        for (at, _), batch in zip(limits, await self._store.claim(requests), strict=True):
            if batch:
                total += len(batch)
                await self._hand_over(sessions[at], batch)
        return total

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
