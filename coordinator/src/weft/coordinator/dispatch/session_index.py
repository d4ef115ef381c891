"""An index of the sessions by queue, the least loaded first. A pass costs as much as it hands out, however many are
connected.

    a session changes ─► log: each session once, in the order of its last change
                          │ read from the position that the queue's pool has reached
                          ▼
    queue ─► pool: the sessions that serve it; those with free slots are in a heap by load

The first request for a queue makes its pool. A session that does not change is not examined again, however many are connected.
Entries of a heap may be old: a session that is busier by now moves down when it comes to the top, and one that takes no work is
dropped until its next change.

A session whose attempts keep failing gets no tasks while others serve the queue: an agent that fails quickly always has free
slots, and would get all tasks. If most sessions fail, this rule is off: the few others would only be overloaded.

No I/O. Time is passed in, by the monotonic clock.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.store.rules import QueueKey
from weft.rpc.balancing.availability import panics

# Pools that are kept, and what those beyond FEW_POOLS may hold together. The one that was used longest ago is dropped, and made again
# when it is needed: that examines every session, so a mesh must not have more queues in use than pools.
MOST_POOLS = 1024
FEW_POOLS = 64
MOST_MEMBERS = 640_000

# A session's load, its turn among equal ones, and the session.
_Entry = tuple[float, int, AgentSession]


class SessionIndex:
    """The index. `examined` counts the sessions that it has examined.

    Args:
        elsewhere: how many agents at other coordinators serve a queue, without the avoided one, and how many of them keep failing.
    """

    def __init__(self, elsewhere: Callable[[QueueKey], tuple[int, int]] = lambda _: (0, 0)) -> None:
        self._elsewhere = elsewhere
        self._log: dict[AgentSession, int] = {}
        self._by_agent: dict[str, AgentSession] = {}
        self._position = 0
        # Sessions that get nothing for some seconds.
        self._ejected: set[AgentSession] = set()
        # In the order of their last use.
        self._pools: dict[QueueKey, QueuePool] = {}
        self.examined = 0

    def changed(self, session: AgentSession) -> None:
        """A session is new, or takes more, less or other work than before. Assignments need no call."""
        if not session.open:
            # It has ended since: nothing would take it out again.
            self.left(session)
            return
        self._position += 1
        self._log.pop(session, None)
        self._log[session] = self._position
        self._by_agent[session.owner.agent_id] = session
        if session.outcomes.allowance == 0:
            self._ejected.add(session)

    def left(self, session: AgentSession) -> None:
        """The session's stream is over."""
        self._log.pop(session, None)
        self._ejected.discard(session)
        if self._by_agent.get(session.owner.agent_id) is session:
            del self._by_agent[session.owner.agent_id]
        for pool in self._pools.values():
            if session in pool:
                pool.drop(session)

    def take(self, key: QueueKey, count: int, now_s: float) -> list[AgentSession]:
        """Up to `count` sessions with free slots for this queue, the least loaded first. Call `changed` for each after its
        assignments."""
        if agent_id := key.requirements.agent_id:
            # A pool of one would be made by a look at every session.
            session = self.with_room(agent_id, key)
            return [] if session is None or not count else [session]
        return self._pool(key, now_s).take(count)

    def room(self, session: AgentSession, key: QueueKey) -> int:
        """Slots that a session from `take` may use for this queue now."""
        pool = self._pools.get(key)
        return session.free_slots if pool is None else pool.room(session)

    def has_room(self, key: QueueKey, now_s: float) -> bool:
        """Whether a session has free slots for a task of this queue."""
        if agent_id := key.requirements.agent_id:
            return self.with_room(agent_id, key) is not None
        return self._pool(key, now_s).first() is not None

    def others_serve(self, key: QueueKey, now_s: float) -> bool:
        """Whether an agent other than the avoided one serves this queue, here or elsewhere, with or without free slots."""
        if key.avoid and key.requirements.agent_id == key.avoid:
            return False
        elsewhere, failing = self._elsewhere(key)
        return elsewhere > failing or self._pool(key.base, now_s).serves(self._by_agent.get(key.avoid))

    def with_room(self, agent_id: str, key: QueueKey) -> AgentSession | None:
        """An agent's session, if it has free slots for a task of this queue."""
        self.examined += 1
        session = self._by_agent.get(agent_id)
        return session if session is not None and _has_room(session, key) else None

    def _pool(self, key: QueueKey, now_s: float) -> QueuePool:
        """The queue's pool, up to date."""
        if self._ejected:
            self._readmit(now_s)
        pool = self._pools.get(key)
        if pool is None:
            while self._has_too_many():
                del self._pools[next(iter(self._pools))]
            pool = self._pools[key] = QueuePool(key, self)
        elif len(self._pools) > FEW_POOLS // 2:
            # With few pools the order does not matter yet.
            self._pools[key] = self._pools.pop(key)
        if pool.position != self._position:
            changed: list[AgentSession] = []
            for session, at in reversed(self._log.items()):
                if at <= pool.position:
                    break
                changed.append(session)
            # The earliest change first: among equal sessions, that one has waited longest.
            while changed:
                pool.update(changed.pop())
            pool.position = self._position
        if pool.limited:
            pool.settle(*self._elsewhere(key))
        return pool

    def _has_too_many(self) -> bool:
        """Whether there is no room for a further pool."""
        pools = self._pools
        if len(pools) < FEW_POOLS:
            return False
        return len(pools) >= MOST_POOLS or sum(pool.size for pool in pools.values()) >= MOST_MEMBERS

    def _readmit(self, now_s: float) -> None:
        """Take in the sessions whose ejection is over."""
        for session in [each for each in self._ejected if not each.outcomes.out_for_s(now_s)]:
            self._ejected.discard(session)
            session.outcomes.settle(session.slots, session.highest_cost, now_s)
            self.changed(session)


class QueuePool:
    """The sessions that serve one queue."""

    def __init__(self, key: QueueKey, index: SessionIndex) -> None:
        self._key = key
        # Whether a task needs something left of an agent's resources.
        self._consumes = bool(key.requirements.consumes)
        self._index = index
        # How far it has read the log.
        self.position = 0
        self._members: set[AgentSession] = set()
        # Those that may use a part of their slots only, and how many suspects are among them.
        self.limited: dict[AgentSession, bool] = {}
        self._suspects = 0
        # Whether nothing is limited, because the session is the only one; and whether suspects are not.
        self._alone = self._panic = False
        self._heap: list[_Entry] = []
        # The valid entry of each session that had free slots; other entries in the heap are old.
        self._entries: dict[AgentSession, _Entry] = {}
        self._turns = itertools.count()

    @property
    def size(self) -> int:
        """How many sessions it holds."""
        return len(self._members)

    def __contains__(self, session: AgentSession) -> bool:
        return session in self._members

    def update(self, session: AgentSession) -> None:
        """Take in a changed session."""
        self._index.examined += 1
        cost = session.queue_cost(self._key)
        if cost is None or not session.takes_work:
            if session in self._members:
                self.drop(session)
            return
        self._members.add(session)
        if self.limited:
            self._unlimit(session)
        outcomes = session.outcomes
        if outcomes.allowance is not None:
            self.limited[session] = outcomes.suspect
            self._suspects += outcomes.suspect
        if cost <= session.free_slots:
            self._enter(session)

    def drop(self, session: AgentSession) -> None:
        """The session does not serve this queue (any more)."""
        self._members.discard(session)
        self._unlimit(session)
        self._entries.pop(session, None)

    def _unlimit(self, session: AgentSession) -> None:
        self._suspects -= self.limited.pop(session, False)

    def serves(self, beside: AgentSession | None) -> bool:
        """Whether a session other than `beside` may get the queue's tasks, with or without free slots."""
        out = {each for each in self.limited if each.outcomes.allowance == 0 and not self._free(each)}
        return len(self._members) - len(out) > (beside in self._members and beside not in out)

    def _free(self, session: AgentSession) -> bool:
        """Whether the outcomes of its attempts do not matter."""
        return self._alone or (self._panic and self.limited.get(session, False))

    def settle(self, elsewhere: int, failing_elsewhere: int) -> None:
        """Decide whether limits are ignored, by the sessions here and the agents elsewhere."""
        suspects, members = self._suspects + failing_elsewhere, len(self._members) + elsewhere
        before = self._alone, self._panic
        self._alone, self._panic = members == 1, panics(members - suspects, members)
        if (self._alone, self._panic) != before:
            for session in self.limited:
                if self._has_room(session):
                    self._enter(session)

    def room(self, session: AgentSession) -> int:
        """Slots that the session may use."""
        return session.room(all_slots=self._free(session))

    def _has_room(self, session: AgentSession) -> bool:
        cost = session.queue_cost(self._key)
        if cost is None or not session.takes_work:
            return False
        if self._consumes and not self._key.requirements.fits(session.resources.left):
            return False
        return cost <= (self.room(session) if self.limited else session.free_slots)

    def first(self) -> AgentSession | None:
        """The least loaded session with free slots; it stays in the heap."""
        heap = self._heap
        while heap:
            self._index.examined += 1
            known, _, session = entry = heap[0]
            if self._entries.get(session) is not entry:
                heapq.heappop(heap)
            elif not self._has_room(session):
                heapq.heappop(heap)
                del self._entries[session]
            elif (load := session.load_for(self._key.method)) > known:
                heapq.heapreplace(heap, self._entry(session, load))
            else:
                return session
        return None

    def take(self, count: int) -> list[AgentSession]:
        """Up to `count` sessions with free slots, the least loaded first. Each is out of the heap until its next change."""
        taken: list[AgentSession] = []
        while len(taken) < count and (session := self.first()) is not None:
            heapq.heappop(self._heap)
            del self._entries[session]
            taken.append(session)
        return taken

    def _enter(self, session: AgentSession) -> None:
        """Put a session with free slots into the heap."""
        known, load = self._entries.get(session), session.load_for(self._key.method)
        if known is not None and known[0] <= load:
            return
        heapq.heappush(self._heap, self._entry(session, load))
        if len(self._heap) > 2 * len(self._entries) + FEW_POOLS:
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)

    def _entry(self, session: AgentSession, load: float) -> _Entry:
        entry = self._entries[session] = (load, next(self._turns), session)
        return entry


def _has_room(session: AgentSession, key: QueueKey) -> bool:
    cost = session.queue_cost(key)
    if cost is None or not session.takes_work or cost > session.free_slots:
        return False
    return key.requirements.fits(session.resources.left)
