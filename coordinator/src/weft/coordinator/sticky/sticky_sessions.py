"""Sticky sessions: gives each call of a session the agent that has it, and each session an agent.

submission ─► place ──┐                    ┌─ the session's agent takes the call ─► that one
direct call ─► find ──┼─► agents_for ─► ───┼─ soft, and it does not ─► another one; the session moves
waiting task ─► moves ┘                    ├─ hard, and its process is gone ─► STICKY_SESSION_LOST
└─ there is no session ─► one begins
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.sticky import sticky_rules
from weft.coordinator.sticky.sticky_rules import Place
from weft.coordinator.sticky.sticky_table import KeptSession, SessionName, StickyTable
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import QueueKey
from weft.coordinator.store.sticky_agent import NOBODY, StickyAgent, bound_to, unbound
from weft.coordinator.store.table_store import TooManyRows
from weft.rpc import refusals
from weft.rpc.calls.session_keys import StickyCall
from weft.rpc.errors import WeftError

# How often a session is read again when others change it at the same time.
_TRIES = 8


@dataclass(slots=True)
class Asked:
    """A call that needs the agent of its session.

    Attributes:
        key: its queue, whichever agent has the session.
        leaving: the id of an agent that the session is to leave, because it is full. Empty: none.
        direct: it is a direct call.
    """

    call: StickyCall
    key: QueueKey
    leaving: str = ""
    direct: bool = False

    @property
    def name(self) -> SessionName:
        return SessionName(self.key.method.rpartition("/")[0], self.call.hard, self.call.key)


class StickySessions:
    """The sessions of a mesh.

    Args:
        look: reads the store's news of agents.
        grace_s: how long an agent whose lease has ended may take to come back before its hard sessions are lost.

    Attributes:
        changes: how many sessions have begun and moved, and how many calls were refused or ended because theirs was lost.
    """

    def __init__(
        self, store: Store, register: AgentRegister, look: Callable[[], Awaitable[None]], grace_s: float
    ) -> None:
        self._store = store
        self._register = register
        self.look = look
        self._grace_s = grace_s
        self.table = StickyTable(store)
        self.changes = {"begun": 0, "moved": 0, "lost": 0}

    async def place(self, submissions: Sequence[Submission]) -> dict[str, WeftError]:
        """Let submissions that belong to sessions require the agents that have these. Returns the errors of those that are refused, by task id."""
        sessions = [(each, each.session) for each in submissions if each.session is not None]
        asked = [
            Asked(session, QueueKey(each.method, unbound(each.requirements))) for each, session in sessions
        ]
        refused: dict[str, WeftError] = {}
        for (each, session), found in zip(sessions, await self.agents_for(asked), strict=True):
            if isinstance(found, WeftError):
                refused[each.task_id] = found
                continue
            each.requirements = bound_to(each.requirements, found, hard=session.hard)
            if each.alternatives:
                first, *rest = each.alternatives
                each.alternatives = (first._replace(requirements=each.requirements), *rest)
            each.session = None
        return refused

    async def find(self, method: str, call: StickyCall) -> StickyAgent:
        """The agent of a direct call's session. A hard session's agent may be away.

        Raises:
            WeftError: as FindStickySession says.
        """
        (found,) = await self.agents_for([Asked(call, QueueKey(method), direct=True)])
        if isinstance(found, WeftError):
            raise found
        if found == NOBODY:
            raise refusals.no_agent(
                f"no agent takes direct calls of {method} now", metadata={"method": method}
            )
        return found

    def lost(self, agent: StickyAgent, now_s: float) -> str:
        """What became of the agent of a hard session, if that is lost; empty: it is not.

        Args:
            now_s: by the monotonic clock.
        """
        return sticky_rules.lost(self._register, agent, now_s, self._grace_s)

    async def agents_for(self, asked: Sequence[Asked]) -> Sequence[StickyAgent | WeftError]:
        """The agent for each call; NOBODY if there is none that could have its session. Of a hard session an error, if it is lost.

        Raises:
            WeftError: the store is away.
        """
        results: list[StickyAgent | WeftError | None] = [None] * len(asked)
        for _ in range(_TRIES):
            left = [at for at, result in enumerate(results) if result is None]
            if not left:
                break
            await self._settle(asked, left, results)
        busy = refusals.overloaded("others change the sticky session at the same time", retry_after_s=0.1)
        return [busy if result is None else result for result in results]

    async def _settle(
        self, asked: Sequence[Asked], left: Sequence[int], results: list[StickyAgent | WeftError | None]
    ) -> None:
        """Decide on those that are left, as far as nobody else decides on them at the same time."""
        known = await self.table.find({asked[at].name for at in left})
        changes: dict[SessionName, KeptSession] = {}
        waiting: list[int] = []
        for at in left:
            each = asked[at]
            if each.name in changes:
                waiting.append(at)
                continue
            kept = known.get(each.name)
            found = self._present(each, kept) if kept is not None else None
            if (found is None or isinstance(found, WeftError)) and kept is not None and self._store.shared:
                # Another coordinator may have its agent, and know it better.
                await self.look()
                found = self._present(each, kept)
            if found is None:
                changed = self._changed(each, kept)
                if changed.agent != NOBODY:
                    changes[each.name] = changed
                    waiting.append(at)
                    continue
                found = NOBODY
            if isinstance(found, WeftError):
                self.changes["lost"] += 1
            elif kept is not None:
                self.table.used(kept, each.call.idle_ttl_s)
            results[at] = found
        if changes:
            await self._write(asked, waiting, changes, results)

    def _present(self, asked: Asked, kept: KeptSession) -> StickyAgent | WeftError | None:
        """The agent of a session that there is, or why there is none. None: the session is to move."""
        if asked.call.hard:
            if what := self.lost(kept.agent, time.monotonic()):
                return lost_error(kept.name, kept.agent, what)
            entry = self._register.get(kept.agent.agent_id)
            if entry is not None and asked.key.method not in entry.methods:
                return refusals.method_not_hosted(
                    f"the agent {kept.agent.agent_id}, which has the sticky session {kept.name.key!r}, does not host {asked.key.method}"
                )
            return kept.agent
        where = sticky_rules.place(self._register, kept.agent, asked.key, direct=asked.direct)
        if where is Place.UNFIT:
            # For this call alone: the session stays.
            return self._choose(asked)
        leaves = asked.leaving == kept.agent.agent_id and sticky_rules.has_other_room(
            self._register, asked.key, asked.leaving
        )
        return None if leaves or where is Place.MOVES else kept.agent

    def _changed(self, asked: Asked, kept: KeptSession | None) -> KeptSession:
        """The session as it begins or moves; its agent may be NOBODY."""
        now = self._store.now()
        agent = self._choose(asked)
        began = KeptSession(asked.name, agent, asked.call.idle_ttl_s, now, now + asked.call.idle_ttl_s)
        return began if kept is None else replace(began, revision=kept.revision)

    def _choose(self, asked: Asked) -> StickyAgent:
        name, direct = asked.name.row, asked.direct
        return sticky_rules.choose(self._register, name, asked.key, without=asked.leaving, direct=direct)

    async def _write(
        self,
        asked: Sequence[Asked],
        waiting: Sequence[int],
        changes: dict[SessionName, KeptSession],
        results: list[StickyAgent | WeftError | None],
    ) -> None:
        written = dict(zip(changes, await self.table.put(list(changes.values())), strict=True))
        for name, kept in written.items():
            if isinstance(kept, KeptSession):
                self.changes["moved" if changes[name].revision else "begun"] += 1
        for at in waiting:
            kept = written[asked[at].name]
            if isinstance(kept, TooManyRows):
                # A soft call goes without a record to the agent that everybody else would choose, too.
                results[at] = (
                    refusals.too_many_sticky_sessions(kept.limit)
                    if asked[at].call.hard
                    else changes[asked[at].name].agent
                )
            # Others of the session are decided on by what is known now.
            elif kept is not None and changes.pop(asked[at].name, None) is not None:
                results[at] = kept.agent


def lost_error(name: SessionName, agent: StickyAgent, what: str) -> WeftError:
    """The error of the calls of a hard session whose process is gone."""
    return refusals.sticky_session_lost(name.key, name.service, agent.agent_id, what)
