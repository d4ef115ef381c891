"""Who may take a queue's tasks now, the best first: an index of the sessions, so that a pass costs what it hands out.

    a session changes ─► log: each session once, in the order of its last change
                          │ read on from where the queue's pool last looked
                          ▼
    queue ─► pool: the sessions that serve it, those with room in a heap by load

A pool is made when it is first asked for. Sessions that do not change are not looked at, however many are connected. What a
heap says may be old: a session that is busier by now goes down when it comes up, and one that takes nothing is left out until
its next change.

A session whose attempts keep failing gets nothing while others serve the queue: failing quickly, it would always have room,
and draw all work. Should that be so of most of them, it is ignored: the few that are left would only be next.

No I/O; time is passed in, by the monotonic clock.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.store.rules import QueueKey

# Queues that have a pool. The one that was asked for longest ago makes room, and is made anew when it is asked for again.
MOST_POOLS = 64
# Above this share of failing sessions they are chosen as others are.
PANIC_SHARE = 0.5

# A session's load, its turn among equals, and the session.
_Entry = tuple[float, int, AgentSession]


class SessionIndex:
    """The index. `looked_at` counts the sessions that were looked at, over all its time.

    Args:
        elsewhere: how many agents at other coordinators serve a queue, but for the one that it avoids, and how many of them keep
            failing.
    """

    def __init__(self, elsewhere: Callable[[QueueKey], tuple[int, int]] = lambda _: (0, 0)) -> None:
        self._elsewhere = elsewhere
        self._log: dict[AgentSession, int] = {}
        self._by_agent: dict[str, AgentSession] = {}
        self._position = 0
        # The one that was used last comes last.
        self._pools: dict[QueueKey, QueuePool] = {}
        self.looked_at = 0

    def changed(self, session: AgentSession) -> None:
        """It is new, or takes more, less or other work than before. Being given work need not be told."""
        self._position += 1
        self._log.pop(session, None)
        self._log[session] = self._position
        self._by_agent[session.owner.agent_id] = session

    def left(self, session: AgentSession) -> None:
        """Its stream is over."""
        self._log.pop(session, None)
        if self._by_agent.get(session.owner.agent_id) is session:
            del self._by_agent[session.owner.agent_id]
        for pool in self._pools.values():
            pool.drop(session)

    def take(self, key: QueueKey, count: int, now_s: float) -> list[AgentSession]:
        """Up to `count` sessions that have room for a task of this queue, the least loaded first. Call `changed` for each
        once it is known what it was given."""
        return self._pool(key, now_s).take(count)

    def has_room(self, key: QueueKey, now_s: float) -> bool:
        """Whether a session would take a task of this queue now."""
        return self._pool(key, now_s).first() is not None

    def others_serve(self, key: QueueKey, now_s: float) -> bool:
        """Whether an agent but the one that this queue avoids may be given its tasks, here or elsewhere, now or when it has
        room."""
        elsewhere, failing = self._elsewhere(key)
        return elsewhere > failing or self._pool(key.base, now_s).serves(self._by_agent.get(key.avoid))

    def with_room(self, agent_id: str, key: QueueKey) -> AgentSession | None:
        """An agent's session, if it would take a task of this queue now."""
        self.looked_at += 1
        session = self._by_agent.get(agent_id)
        return session if session is not None and _has_room(session, key) else None

    def _pool(self, key: QueueKey, now_s: float) -> QueuePool:
        """The queue's pool, up to date."""
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= MOST_POOLS:
                del self._pools[next(iter(self._pools))]
            pool = self._pools[key] = QueuePool(key, self)
        elif len(self._pools) > MOST_POOLS // 2:
            # As long as there are few, it does not matter which was used last.
            self._pools[key] = self._pools.pop(key)
        if pool.position != self._position:
            changed: list[AgentSession] = []
            for session, at in reversed(self._log.items()):
                if at <= pool.position:
                    break
                changed.append(session)
            # The one that changed first comes first: among equals it has waited longest.
            while changed:
                pool.look(changed.pop(), now_s)
            pool.position = self._position
        if pool.has_failing:
            pool.settle(*self._elsewhere(key))
        return pool


class QueuePool:
    """The sessions that serve one queue."""

    def __init__(self, key: QueueKey, index: SessionIndex) -> None:
        self._key = key
        self._index = index
        # Where in the log it has looked.
        self.position = 0
        self._members: set[AgentSession] = set()
        self._failing: set[AgentSession] = set()
        self._panic = False
        self._heap: list[_Entry] = []
        # The valid entry of each session that had room; others in the heap are old.
        self._entries: dict[AgentSession, _Entry] = {}
        self._turns = itertools.count()

    def look(self, session: AgentSession, now_s: float) -> None:
        """Take in how a session is now."""
        self._index.looked_at += 1
        cost = session.queue_cost(self._key)
        if cost is None or not session.takes_work:
            self.drop(session)
            return
        self._members.add(session)
        if session.recent_failures.failing(now_s):
            self._failing.add(session)
        elif self._failing:
            self._failing.discard(session)
        if cost <= session.free_slots:
            self._enter(session)

    def drop(self, session: AgentSession) -> None:
        """It does not serve this queue (any more)."""
        self._members.discard(session)
        self._failing.discard(session)
        self._entries.pop(session, None)

    def serves(self, beside: AgentSession | None) -> bool:
        """Whether a session but this one may be given the queue's tasks, with room or without."""
        usable = len(self._members) - (0 if self._panic else len(self._failing))
        return usable > (beside in self._members and (self._panic or beside not in self._failing))

    @property
    def has_failing(self) -> bool:
        """Whether there is anything to `settle`: who fails elsewhere changes nothing for those that do not."""
        return bool(self._failing)

    def settle(self, elsewhere: int, failing_elsewhere: int) -> None:
        """Decide whether too many fail to heed it."""
        failing, members = len(self._failing) + failing_elsewhere, len(self._members) + elsewhere
        panic = failing > PANIC_SHARE * members
        if panic and not self._panic:
            self._panic = True
            for session in self._failing:
                if _has_room(session, self._key):
                    self._enter(session)
        self._panic = panic

    def first(self) -> AgentSession | None:
        """The best one with room; it stays the first."""
        heap = self._heap
        while heap:
            self._index.looked_at += 1
            known, _, session = entry = heap[0]
            if self._entries.get(session) is not entry:
                heapq.heappop(heap)
            elif not _has_room(session, self._key) or (session in self._failing and not self._panic):
                heapq.heappop(heap)
                del self._entries[session]
            elif (load := session.load) > known:
                heapq.heapreplace(heap, self._entry(session, load))
            else:
                return session
        return None

    def take(self, count: int) -> list[AgentSession]:
        """Up to so many with room, the best first. Each is taken out, until it is looked at again."""
        taken: list[AgentSession] = []
        while len(taken) < count and (session := self.first()) is not None:
            heapq.heappop(self._heap)
            del self._entries[session]
            taken.append(session)
        return taken

    def _enter(self, session: AgentSession) -> None:
        """Put one that has room into the heap, if it may be chosen, where it belongs."""
        if session in self._failing and not self._panic:
            return
        known, load = self._entries.get(session), session.load
        if known is not None and known[0] <= load:
            return
        heapq.heappush(self._heap, self._entry(session, load))
        if len(self._heap) > 2 * len(self._entries) + MOST_POOLS:
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)

    def _entry(self, session: AgentSession, load: float) -> _Entry:
        entry = self._entries[session] = (load, next(self._turns), session)
        return entry


def _has_room(session: AgentSession, key: QueueKey) -> bool:
    cost = session.queue_cost(key)
    return cost is not None and session.takes_work and cost <= session.free_slots
