"""Tasks of sticky sessions that wait for an agent which cannot run them: a pass over their queues, each second and when agents change.

    the session has no agent yet      ─► one is chosen
    soft: its agent takes no work     ─► the session moves, and its waiting tasks with it
    soft: its agent is full for long  ─► the same, for those that have waited so long, if another agent has a free slot
    hard: its process is gone         ─► its tasks end as FAILED: STICKY_SESSION_LOST

Every coordinator makes these passes. They come to the same decisions, since a session's row is changed by compare-and-set, and a task is moved only
if it still waits where it was seen.
"""

from __future__ import annotations

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.sticky import sticky_codec, sticky_rules
from weft.coordinator.sticky.sticky_rules import Place
from weft.coordinator.sticky.sticky_sessions import Asked, StickySessions, lost_error
from weft.coordinator.sticky.sticky_table import SessionName
from weft.coordinator.store.base import Store
from weft.coordinator.store.queue_moves import ReadyTask, Redirected
from weft.coordinator.store.rules import NO_AGENT_YET, QueueKey
from weft.coordinator.store.sticky_agent import agent_of, bound_to, is_hard, unbound
from weft.rpc.errors import WeftError
from weft.rpc.process.logs import get_logger
from weft.v1 import task_pb2

log = get_logger(__name__)

# How long a task of a soft session waits for a free slot of its agent, before it may go to another one.
FULL_S = 5.0
# Tasks that are read at a time, with their payloads; and those of one queue in a pass.
_PORTION = 100
_MOST = 1000


class StickyMoves:
    """The passes.

    Args:
        full_s: how long a task waits for a free slot of its agent.
    """

    def __init__(
        self,
        store: Store,
        register: AgentRegister,
        sessions: StickySessions,
        *,
        full_s: float = FULL_S,
    ) -> None:
        self._store = store
        self._register = register
        self._sessions = sessions
        self._full_s = full_s
        # Since when queues whose agents take work have had ready tasks, by the monotonic clock.
        self._full_since_s: dict[QueueKey, float] = {}

    def queues(self) -> list[QueueKey]:
        """The queues of sessions that have ready tasks."""
        return [
            key for key in self._store.ready_depths() if key.requirements.labels and key.requirements.session
        ]

    async def run_once(self, now_s: float) -> None:
        """One pass.

        Args:
            now_s: by the monotonic clock.
        """
        queues = self.queues()
        if not queues and not self._full_since_s:
            return
        known = self._full_since_s
        self._full_since_s = {key: known.get(key, now_s) for key in queues if self._stays(key)}
        for key in queues:
            if is_hard(key.requirements) and key.requirements.agent_id != NO_AGENT_YET:
                await self._end_lost(key, now_s)
            else:
                await self._move(key, now_s)

    def _stays(self, key: QueueKey) -> bool:
        """Whether tasks of soft sessions wait only for a free slot of their agent."""
        needed = key.requirements
        if is_hard(needed) or needed.agent_id == NO_AGENT_YET:
            return False
        free = QueueKey(key.method, unbound(needed))
        return sticky_rules.place(self._register, agent_of(needed), free) is Place.STAYS

    async def _end_lost(self, key: QueueKey, now_s: float) -> None:
        agent = agent_of(key.requirements)
        what = self._sessions.lost(agent, now_s)
        if what and self._store.shared:
            await self._sessions.look()
            what = self._sessions.lost(agent, now_s)
        if not what:
            return
        service = key.method.rpartition("/")[0]
        ends: list[Redirected] = []
        for task in await self._read(key):
            call = sticky_codec.of_context(task.context)
            error = lost_error(SessionName(service, True, "" if call is None else call.key), agent, what)
            outcome = task_pb2.Outcome(status=error.status()).SerializeToString()
            ends.append(Redirected(task.task_id, outcome=outcome))
        ended = await self._store.redirect(key, ends)
        if ended:
            self._sessions.changes["lost"] += ended
            log.warning("session.lost", agent_id=agent.agent_id, method=key.method, count=ended)

    async def _move(self, key: QueueKey, now_s: float) -> None:
        """Give waiting tasks the agents that their sessions have now."""
        agent_id = key.requirements.agent_id
        free = QueueKey(key.method, unbound(key.requirements))
        full_since_s = self._full_since_s.get(key)
        if full_since_s is not None and not self._may_leave(free, agent_id, now_s - full_since_s):
            return
        leaving = agent_id if full_since_s is not None else ""
        since = self._store.now() - self._full_s
        # The oldest come first: of a full agent, few are looked at each time.
        read = await self._read(key, _PORTION if leaving else _MOST)
        tasks = [each for each in read if not leaving or each.ready_at <= since]
        calls = [(each, sticky_codec.of_context(each.context)) for each in tasks]
        asked = [Asked(call, free, leaving) for _, call in calls if call is not None]
        found = await self._sessions.agents_for(asked)
        moves: list[Redirected] = []
        for (task, call), agent in zip(((t, c) for t, c in calls if c is not None), found, strict=True):
            if isinstance(agent, WeftError):
                if call.hard:
                    outcome = task_pb2.Outcome(status=agent.status()).SerializeToString()
                    moves.append(Redirected(task.task_id, outcome=outcome))
                continue
            needed = bound_to(free.requirements, agent, hard=call.hard)
            if needed != key.requirements:
                moves.append(Redirected(task.task_id, needed))
        if moves and await self._store.redirect(key, moves):
            log.info("session.moved", agent_id=agent_id, method=key.method, count=len(moves))

    def _may_leave(self, free: QueueKey, agent_id: str, full_s: float) -> bool:
        return full_s >= self._full_s and sticky_rules.has_other_room(self._register, free, agent_id)

    async def _read(self, key: QueueKey, most: int = _MOST) -> list[ReadyTask]:
        """Ready tasks of a queue, about as many."""
        found: list[ReadyTask] = []
        at: int | None = 0
        while at is not None and len(found) < most:
            page = await self._store.ready_tasks(key, at, _PORTION)
            found += page.tasks
            at = page.next_at
        return found
