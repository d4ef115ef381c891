"""The dispatcher: it hands out ready tasks in passes. Many wake-ups make one pass; a pass is one plan and one claim.

a task is ready   ──┐
a slot is free    ──┼─► wake ─► pass: ready queues × their best sessions ─► plan ─► store.claim ─► session.assign
an agent connects ──┘
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from weft.coordinator.dispatch.placement import FreeSession, LeastConnections, plan
from weft.coordinator.dispatch.placement_plugin import FreeAgent
from weft.coordinator.dispatch.plugin_planner import PluginPlanner
from weft.coordinator.dispatch.queue_forecast import QueueForecast
from weft.coordinator.dispatch.session_index import SessionIndex
from weft.coordinator.dispatch.wait_spans import WaitSpans
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import AttemptRef, Claimed, ClaimRequest
from weft.coordinator.store.rules import QueueKey
from weft.rpc.errors import WeftError
from weft.rpc.process.background_tasks import end_tasks
from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry.coordinator_metrics import PASSES
from weft.rpc.telemetry.figures import Histogram

log = get_logger(__name__)

# Tasks that one pass hands out at most, so that other work does not wait long.
PASS_TASKS = 1024
# Queues of retries in one pass.
PASS_RETRY_QUEUES = 16
# How long a retry waits for an agent other than that of its last attempt.
PATIENCE_S = 5.0
# The pause after a failed claim; and the longest time between two passes.
RETRY_S = 0.5
IDLE_S = 1.0
# Agents of a queue between which a plug-in chooses: the least loaded ones.
PLUGIN_CANDIDATES = 64


class Dispatcher:
    """Runs passes while there are ready tasks and agents with free slots.

    Args:
        clock: monotonic, in seconds.
        waits: takes the spans of waits; None: no traces are exported.
        passes: where passes that hand out tasks are counted.
        forecast: is told which tasks start.
        planner: plans passes by a plug-in.
    """

    def __init__(
        self,
        store: Store,
        index: SessionIndex,
        *,
        clock: Callable[[], float] = time.monotonic,
        waits: WaitSpans | None = None,
        passes: Histogram | None = None,
        forecast: QueueForecast | None = None,
        planner: PluginPlanner | None = None,
    ) -> None:
        self._passes = passes or Histogram(PASSES.bounds)
        self._store = store
        self._index = index
        self._strategy = LeastConnections()
        self._clock = clock
        self._waits = waits
        self._forecast = forecast or QueueForecast()
        self._planner = planner
        # Queues of retries for which only the avoided agent has had free slots, each with the start of that time
        # (monotonic).
        self._unserved: dict[QueueKey, float] = {}
        self._wake = asyncio.Event()
        self._turn = 0
        # Passes that are still due though they may hand out nothing, so that each queue of retries has its turn.
        self._round = 0
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """A task may be handed out now."""
        if not self._wake.is_set() and self._store.ready_depths():
            self._wake.set()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="dispatcher")
        self._backstop()

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await end_tasks(self._task)
        if self._planner is not None:
            self._planner.stop()

    def _backstop(self) -> None:
        # One timer for all waits: this is the hot path.
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
                    # Other work runs in between.
                    await asyncio.sleep(0)
            except WeftError as error:
                log.warning("dispatch.claim_failed", error=error.message)
                loop.call_later(RETRY_S, self._wake.set)
            except Exception:
                log.exception("dispatch.failed")
                loop.call_later(RETRY_S, self._wake.set)

    async def run_pass(self) -> bool:
        """Hand out tasks. Returns True if more may be handed out at once."""
        if not self._store.writable:
            return False
        ready = self._store.ready_depths()
        if not ready:
            return False
        self._turn += 1
        if self._unserved:
            self._unserved = {key: since_s for key, since_s in self._unserved.items() if key in ready}
        # Most passes have neither.
        special = [key for key in ready if key.avoid or key.requirements.consumes]
        retries = [key for key in special if key.avoid] if special else special
        consuming = [key for key in special if key.requirements.consumes] if special else special
        ready = _bounded(ready, retries, self._turn)
        best, rooms = self._best(_by_base(ready) if retries else {key: [key] for key in ready}, ready)
        if not best:
            return False
        began_s = time.perf_counter()
        try:
            total = await self._hand_out(ready, best, rooms, consuming)
        finally:
            self._passes.observe(time.perf_counter() - began_s)
            for session in best:
                self._index.changed(session)
        # With several queues, another queue may have taken the best agents, so that this one still has tasks. Tasks that consume
        # resources may have been planned for an agent that has not enough left.
        return total >= PASS_TASKS or (total > 0 and (len(ready) > 1 or bool(consuming)))

    def _best(
        self, groups: Mapping[QueueKey, list[QueueKey]], ready: Mapping[QueueKey, int]
    ) -> tuple[dict[AgentSession, dict[QueueKey, int]], dict[AgentSession, int]]:
        """For each queue its best sessions, as many as it has tasks, and the slots that a task costs there. Then the slots that
        sessions may use, where that is fewer than are free.

        A queue of retries shares the sessions of its base queue, without that of the avoided agent.
        """
        now_s = self._clock()
        best: dict[AgentSession, dict[QueueKey, int]] = {}
        rooms: dict[AgentSession, int] = {}
        for base, keys in groups.items():
            count = 0
            for key in keys:
                # One more for an avoided agent, which may be among the best.
                count += ready[key] + bool(key.avoid)
            if self._planner is not None and count < PLUGIN_CANDIDATES:
                count = PLUGIN_CANDIDATES
            found = self._index.take(base, count, now_s)
            for session in found:
                agent_id, cost = session.owner.agent_id, session.cost(base.method)
                costs = best.setdefault(session, {})
                if session.outcomes.allowance is not None:
                    rooms[session] = min(
                        rooms.get(session, session.free_slots), self._index.room(session, base)
                    )
                for key in keys:
                    if key.avoid != agent_id:
                        costs[key] = cost
            for key in keys:
                if not key.avoid:
                    continue
                if any(session.owner.agent_id != key.avoid for session in found):
                    self._unserved.pop(key, None)
                elif (last := self._last_agent(key, now_s)) is not None:
                    best.setdefault(last, {})[key] = last.cost(base.method)
                    rooms.pop(last, None)
        return best, rooms

    def _last_agent(self, key: QueueKey, now_s: float) -> AgentSession | None:
        """The session of the avoided agent, if it may have the retry: no other agent serves the queue, or none has had free
        slots for PATIENCE_S."""
        since_s = self._unserved.setdefault(key, now_s)
        if self._index.others_serve(key, now_s) and now_s - since_s < PATIENCE_S:
            return None
        return self._index.with_room(key.avoid, key.base)

    async def _hand_out(
        self,
        ready: Mapping[QueueKey, int],
        best: Mapping[AgentSession, Mapping[QueueKey, int]],
        rooms: Mapping[AgentSession, int],
        consuming: Iterable[QueueKey],
    ) -> int:
        """Plan, claim, and assign the claimed tasks; the number of tasks.

        Args:
            consuming: the ready queues whose tasks consume resources.
        """
        sessions = list(best)
        candidates = [
            FreeSession(
                at,
                rooms.get(each, each.free_slots) if rooms else each.free_slots,
                each.used_slots + each.other_load,
                each.slots,
                best[each],
                _weight(each, best[each]) if each.outcomes.slow else 1.0,
            )
            for at, each in enumerate(sessions)
        ]
        requests = None
        if self._planner is not None and len(sessions) > 1 and not consuming:
            requests = await self._planned(self._planner, ready, sessions, candidates)
        if requests is None:
            requests = [
                (
                    sessions[at],
                    ClaimRequest(
                        sessions[at].owner,
                        _with_waiting(sessions[at], candidates[at].costs, consuming)
                        if consuming
                        else candidates[at].costs,
                        candidates[at].free_slots,
                        limit,
                        sessions[at].resources.left if consuming else {},
                    ),
                )
                for at, limit in plan(ready, candidates, self._strategy, self._turn)
            ]
        total = 0
        claimed = await self._store.claim([request for _, request in requests])
        for (session, _), batch in zip(requests, claimed, strict=True):
            if batch:
                total += len(batch)
                await self._hand_over(session, batch)
        return total

    async def _planned(
        self,
        planner: PluginPlanner,
        ready: Mapping[QueueKey, int],
        sessions: Sequence[AgentSession],
        candidates: Sequence[FreeSession],
    ) -> list[tuple[AgentSession, ClaimRequest]] | None:
        """The claims of the plug-in's plan: one for each share. None: it has none, or there are more tasks than slots, so that priority and age
        choose between tasks, and no plug-in between agents."""
        needed = sum(tasks * _cost(key, candidates) for key, tasks in ready.items())
        if needed > sum(each.free_slots for each in candidates):
            return None
        facts = [
            FreeAgent(
                each.owner.agent_id,
                known.slots,
                known.used_slots,
                dict(each.hello.labels),
                dict(each.hello.resources),
            )
            for each, known in zip(sessions, candidates, strict=True)
        ]
        shares = await planner.plan(ready, candidates, facts, self._turn)
        if shares is None:
            return None
        claims: list[tuple[AgentSession, ClaimRequest]] = []
        left = [each.free_slots for each in candidates]
        for at, queue, tasks in shares:
            cost = candidates[at].costs[queue]
            claims.append(
                (sessions[at], ClaimRequest(sessions[at].owner, {queue: cost}, left[at], tasks, {}))
            )
            left[at] -= tasks * cost
        return claims

    async def _hand_over(self, session: AgentSession, batch: Sequence[Claimed]) -> None:
        if session.open:
            now = self._store.now()
            session.assign(batch, now, self._clock())
            self._store.figures.waited(batch, now)
            if self._forecast.places:
                self._forecast.started([each.task_id for each in batch], self._clock())
            if self._waits is not None:
                self._waits.claimed(session.owner.agent_id, batch, now)
        else:
            # The session closed during the claim: the agent does not know these attempts.
            await self._store.release(session.owner, [AttemptRef(c.task_id, c.attempt) for c in batch])


def _cost(key: QueueKey, candidates: Sequence[FreeSession]) -> int:
    """The slots of a task, at the agent where it takes most."""
    return max((each.costs[key] for each in candidates if key in each.costs), default=0)


def _weight(session: AgentSession, costs: Iterable[QueueKey]) -> float:
    """The session's weight for these queues: that of the method at which it is slowest."""
    slow = session.outcomes.slow
    # It serves none of them if they are retries that avoid it.
    return min((slow.get(key.method, 1.0) for key in costs), default=1.0)


def _with_waiting(
    session: AgentSession, costs: Mapping[QueueKey, int], consuming: Iterable[QueueKey]
) -> Mapping[QueueKey, int]:
    """The queues of a claim, with those whose tasks wait for a resource that other tasks of the claim consume: the claim must
    know of them, or small tasks would overtake large ones for ever."""
    resources = {name for key in costs for name, _ in key.requirements.consumes}
    if not resources:
        return costs
    all_costs = dict(costs)
    for key in consuming:
        if key.avoid != session.owner.agent_id and not resources.isdisjoint(dict(key.requirements.consumes)):
            cost = session.queue_cost(key.base)
            if cost is not None:
                all_costs.setdefault(key, cost)
    return all_costs


def _by_base(ready: Iterable[QueueKey]) -> dict[QueueKey, list[QueueKey]]:
    """Each base queue with its queues of retries."""
    groups: dict[QueueKey, list[QueueKey]] = {}
    for key in ready:
        groups.setdefault(key.base, []).append(key)
    return groups


def _bounded(ready: Mapping[QueueKey, int], retries: list[QueueKey], turn: int) -> dict[QueueKey, int]:
    """The depths, cut so that a pass hands out about PASS_TASKS at most. Of the queues of retries (one for each agent, at worst)
    a pass has a few, in turn."""
    if len(retries) > PASS_RETRY_QUEUES:
        begin = turn * PASS_RETRY_QUEUES % len(retries)
        left_out = {*retries}.difference([*retries, *retries][begin : begin + PASS_RETRY_QUEUES])
        ready = {key: depth for key, depth in ready.items() if key not in left_out}
    share = max(1, PASS_TASKS // max(1, len(ready)))
    return {key: min(depth, share) for key, depth in ready.items()}
