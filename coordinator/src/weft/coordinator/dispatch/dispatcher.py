"""The dispatcher: who gets what. It coalesces wake-ups into passes; a pass is one plan and one claim for everybody.

something is ready ─┐
a slot came free  ──┼─► wake ─► pass: ready queues × their best takers ─► plan ─► store.claim ─► session.assign
an agent came     ──┘
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from weft.coordinator.dispatch.placement import FreeSession, LeastConnections, Strategy, plan
from weft.coordinator.dispatch.session_index import SessionIndex
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import AttemptRef, Claimed, ClaimRequest
from weft.coordinator.store.rules import QueueKey
from weft.rpc.errors import WeftError
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

# Most tasks that one pass hands out: what comes after it is not kept waiting for long.
PASS_TASKS = 1024
# Queues of retries that one pass looks at.
PASS_RETRY_QUEUES = 16
# For so long a retry waits for another agent with room, while the one that made the last attempt has some.
PATIENCE_S = 5.0
# After a claim failed, and as a backstop should a wake-up ever be missed.
RETRY_S = 0.5
IDLE_S = 1.0


class Dispatcher:
    """Runs passes for as long as there is something to hand out and somebody to take it.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        store: Store,
        index: SessionIndex,
        strategy: Strategy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._index = index
        self._strategy = strategy or LeastConnections()
        self._clock = clock
        # Queues of retries with no agent that had room, but for the avoided one: since when, by the monotonic clock.
        self._unserved: dict[QueueKey, float] = {}
        self._wake = asyncio.Event()
        self._turn = 0
        # Passes that go on though they hand out nothing, until each queue of retries has been looked at.
        self._round = 0
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
        self._round = sum(bool(key.avoid) for key in self._store.ready_depths()) // PASS_RETRY_QUEUES
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
                elif self._round > 0:
                    self._round -= 1
                    self._wake.set()
                    # Others have their turn.
                    await asyncio.sleep(0)
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
        self._turn += 1
        if self._unserved:
            self._unserved = {key: since_s for key, since_s in self._unserved.items() if key in ready}
        retries = [key for key in ready if key.avoid]
        ready = _bounded(ready, retries, self._turn)
        takers = self._best(_by_base(ready) if retries else {key: [key] for key in ready}, ready)
        if not takers:
            return False
        try:
            total = await self._hand_out(ready, takers)
        finally:
            for session in takers:
                self._index.changed(session)
        # With several queues one may have had to leave its best agents to another, and there are more.
        return total >= PASS_TASKS or (total > 0 and len(ready) > 1)

    def _best(
        self, groups: Mapping[QueueKey, list[QueueKey]], ready: Mapping[QueueKey, int]
    ) -> dict[AgentSession, dict[QueueKey, int]]:
        """For each queue as many agents as it has tasks, the best ones; and what one of its tasks costs there.

        Retries share the agents of the queue that they came from: each of them but the one that is avoided.
        """
        now_s = self._clock()
        takers: dict[AgentSession, dict[QueueKey, int]] = {}
        for base, keys in groups.items():
            count = 0
            for key in keys:
                # One more for each that is avoided: it may be among the best.
                count += ready[key] + bool(key.avoid)
            found = self._index.take(base, count, now_s)
            for session in found:
                agent_id, cost = session.owner.agent_id, session.cost(base.method)
                costs = takers.setdefault(session, {})
                for key in keys:
                    if key.avoid != agent_id:
                        costs[key] = cost
            for key in keys:
                if not key.avoid:
                    continue
                if any(session.owner.agent_id != key.avoid for session in found):
                    self._unserved.pop(key, None)
                elif (last := self._again(key, now_s)) is not None:
                    takers.setdefault(last, {})[key] = last.cost(base.method)
        return takers

    def _again(self, key: QueueKey, now_s: float) -> AgentSession | None:
        """The session of the agent that a retry avoids, if it may have it: no other serves the queue, or none had room for it
        for long."""
        since_s = self._unserved.setdefault(key, now_s)
        if self._index.others_serve(key, now_s) and now_s - since_s < PATIENCE_S:
            return None
        return self._index.with_room(key.avoid, key.base)

    async def _hand_out(
        self, ready: Mapping[QueueKey, int], takers: Mapping[AgentSession, Mapping[QueueKey, int]]
    ) -> int:
        """Plan, claim, and give what was claimed to the agents; says how much."""
        sessions = list(takers)
        candidates = [
            FreeSession(at, each.free_slots, each.busy_slots, each.slots, takers[each], each.weight)
            for at, each in enumerate(sessions)
        ]
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

    async def _hand_over(self, session: AgentSession, batch: Sequence[Claimed]) -> None:
        if session.open:
            session.assign(batch, self._store.now())
        else:
            # It closed while the claim was under way: the agent never heard of these.
            await self._store.release(session.owner, [AttemptRef(c.task_id, c.attempt) for c in batch])


def _by_base(ready: Iterable[QueueKey]) -> dict[QueueKey, list[QueueKey]]:
    """Queues with those of their retries."""
    groups: dict[QueueKey, list[QueueKey]] = {}
    for key in ready:
        groups.setdefault(key.base, []).append(key)
    return groups


def _bounded(ready: Mapping[QueueKey, int], retries: list[QueueKey], turn: int) -> dict[QueueKey, int]:
    """The depths, cut so that a pass hands out about PASS_TASKS at the most, and of the queues of retries, of which there may be
    one for each agent, has a few, in turn."""
    if len(retries) > PASS_RETRY_QUEUES:
        begin = turn * PASS_RETRY_QUEUES % len(retries)
        left_out = {*retries}.difference([*retries, *retries][begin : begin + PASS_RETRY_QUEUES])
        ready = {key: depth for key, depth in ready.items() if key not in left_out}
    share = max(1, PASS_TASKS // max(1, len(ready)))
    return {key: min(depth, share) for key, depth in ready.items()}
