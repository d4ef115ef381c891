"""Keeps the register of agents up to date: the I/O between the register, the sessions here and the store.

session changed ─► register, dialling, [shared store: share soon]
each second     ─► look: records that changed ─► register, desired states ─► sessions
share: how the agents here are, for other coordinators
forget: agents that have been gone for long
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.agent_view import load_of
from weft.coordinator.fleet.reachability import Reachability
from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.sessions import Sessions
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import AgentRecord
from weft.rpc.network.agent_route import PLAIN, AgentRoute
from weft.rpc.process.logs import get_logger
from weft.v1 import fleet_pb2

log = get_logger(__name__)

# An agent's load is shared when it changes, and at least this often.
LOAD_S = 5.0


class FleetSync:
    """The fleet's I/O.

    Args:
        hasten: called when other coordinators should soon learn of a change.
        bring_contracts: takes in the contracts of methods that are not in force here.
        forget_after_s: how long agents that are gone are remembered.
        route: how agents are dialled.
    """

    def __init__(
        self,
        store: Store,
        register: AgentRegister,
        sessions: Sessions,
        *,
        hasten: Callable[[], None],
        bring_contracts: Callable[[Iterable[str]], Awaitable[None]],
        forget_after_s: float,
        route: AgentRoute = PLAIN,
    ) -> None:
        self._store = store
        self._register = register
        self._sessions = sessions
        self._hasten = hasten
        self._bring_contracts = bring_contracts
        self._forget_after_s = forget_after_s
        self._reachability = Reachability(self.session_changed, route)
        self._looking = asyncio.Lock()
        # The look that questions wait for, until it begins.
        self._asked: asyncio.Task[None] | None = None
        # Agents whose sessions changed since the last look began: to be read again.
        self._touched: set[str] = set()
        # Read, and not taken in yet: the look was cut off.
        self._news: dict[str, AgentRecord | None] = {}
        # Agents here whose present state other coordinators do not know.
        self._unshared: set[str] = set()
        # For agents here: the load that was shared last, with the time.
        self._shared_loads: dict[str, tuple[tuple[int, int], float]] = {}

    def session_changed(self, session: AgentSession) -> None:
        """A session was opened, has changed or has ended."""
        self._reachability.session_changed(session)
        self._register.session_changed(session)
        self._touched.add(session.owner.agent_id)
        if self._store.shared:
            self._unshared.add(session.owner.agent_id)
            self._hasten()

    async def start(self) -> None:
        """Begin with the agents that the store knows."""
        self._register.take_news(await self._store.agent_news(), time.monotonic(), first=True)

    async def stop(self) -> None:
        await self._reachability.stop()

    async def run_once(self, now_s: float) -> None:
        """One round: look, share, forget."""
        if self._touched or self._news or self._store.fleet_moved:
            await self.look(now_s)
        if self._store.shared:
            await self._share(now_s)
        for agent_id in self._register.due_to_forget(now_s, self._forget_after_s):
            await self._store.forget_agent(agent_id)

    async def look_now(self) -> None:
        """Take in what has changed until now. Many questions at a time share one look."""
        if self._asked is None:
            self._asked = asyncio.get_running_loop().create_task(self.look(time.monotonic()))
        # One caller that goes away must not end the look of the others.
        await asyncio.shield(self._asked)

    async def look(self, now_s: float) -> None:
        """Take in the changes of the store, and the desired states that operators set at other coordinators."""
        async with self._looking:
            self._asked = None
            touched, self._touched = self._touched, set()
            try:
                self._news |= await self._store.agent_news(touched)
            except BaseException:
                self._touched |= touched
                raise
            await self._take_contracts(self._news)
            news, self._news = self._news, {}
            # A session that changed during the read is newer than its record: the next look reads that agent again.
            current = {agent_id: record for agent_id, record in news.items() if agent_id not in self._touched}
            for agent_id, desired in self._register.take_news(current, now_s):
                self._sessions.set_desired(agent_id, desired)
        for agent_id, record in current.items():
            if record is None and self._sessions.get(agent_id) is None:
                self._sessions.forget(agent_id)

    async def _take_contracts(self, news: Mapping[str, AgentRecord | None]) -> None:
        """Before an agent elsewhere is shown here, calls of its methods must be taken here."""
        if not self._store.shared:
            return
        methods: set[str] = set()
        for agent_id, record in news.items():
            if record is None or not record.connected or not record.view:
                continue
            entry = self._register.get(agent_id)
            if entry is None or entry.shown is None or entry.shown.epoch != record.epoch:
                agent = fleet_pb2.Agent.FromString(record.view)
                methods.update(method.name for method in agent.methods)
        await self._bring_contracts(methods)

    async def _share(self, now_s: float) -> None:
        """Share the changed agents and the loads of the agents here with other coordinators."""
        views: dict[str, tuple[int, bytes]] = {}
        # Taken before the store is asked: an agent that changes meanwhile must be shared again.
        unshared, self._unshared = self._unshared, set()
        for agent_id in unshared:
            entry = self._register.get(agent_id)
            session = entry.session if entry is not None else None
            # Before its contract is accepted, nobody can use it: it will be shared when it has changed.
            if entry is not None and session is not None and session.open and session.accepted:
                views[agent_id] = (session.owner.epoch, entry.agent.SerializeToString())
        loads: dict[str, bytes] = {}
        shared: dict[str, tuple[tuple[int, int], float]] = {}
        for session in self._sessions.all():
            agent_id = session.owner.agent_id
            busy = (session.busy_slots, len(session.held))
            before, at_s = self._shared_loads.get(agent_id, (None, 0.0))
            if busy != before or now_s - at_s >= LOAD_S:
                at_s = now_s
                loads[agent_id] = self.load(session).SerializeToString()
            shared[agent_id] = (busy, at_s)
        if views or loads:
            try:
                await self._store.share(views, loads)
            except BaseException:
                self._unshared |= views.keys()
                raise
        self._shared_loads = shared

    def load(self, session: AgentSession) -> fleet_pb2.Agent:
        """The load of an agent whose session is here."""
        load = load_of(session, self._store.now(), session.silent_for_s(time.monotonic()))
        load.stale_results_refused = self._sessions.stale_refused.get(session.owner.agent_id, 0)
        return load
