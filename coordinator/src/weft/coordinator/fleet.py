"""Every agent known: what the store remembers, filled in with what its live session says now."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from weft.coordinator.agent_view import with_load
from weft.coordinator.rules import QueueKey
from weft.coordinator.sessions import Sessions
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import AgentRecord
from weft.rpc.channel import BATCH_BYTES
from weft.rpc.errors import InvalidArgument, NotFound
from weft.v1 import errors_pb2, fleet_pb2

# What a session adds to an agent's description, about.
_FILLED_IN_BYTES = 100


class Standing(NamedTuple):
    """How many connected agents host a queue's method; of those have what its tasks require; take work now; have room."""

    hosts: int
    fitting: int
    taking: int
    free: int


class Fleet:
    """Reads and steers the fleet."""

    def __init__(self, store: Store, sessions: Sessions, *, forget_after_s: float) -> None:
        self._store = store
        self._sessions = sessions
        self._forget_after_s = forget_after_s
        # Agents at other coordinators, as those see them.
        self._elsewhere: dict[str, fleet_pb2.Agent] = {}
        # Something changed here that coordinators on the same store are to look at at once.
        self._news = False
        # Agents that are gone: since when this process has known.
        self._gone: dict[str, float] = {}

    async def page(self, method: str, after: str, size: int) -> tuple[list[fleet_pb2.Agent], bool]:
        """Agents by id from the one behind `after`, with `method` those that host it, and whether there are more.

        A page ends early where it would become a large message.
        """
        records = [record for record in await self._store.agents() if record.agent_id > after]
        page: list[fleet_pb2.Agent] = []
        size_bytes = 0
        for record in sorted(records, key=lambda record: record.agent_id):
            if len(page) >= size or size_bytes > BATCH_BYTES:
                return page, True
            agent = self._agent(record)
            if not method or any(hosted.name == method for hosted in agent.methods):
                page.append(agent)
                size_bytes += len(record.description) + _FILLED_IN_BYTES
        return page, False

    async def agent(self, agent_id: str) -> fleet_pb2.Agent:
        """One agent.

        Raises:
            NotFound: AGENT_NOT_FOUND.
        """
        for record in await self._store.agents():
            if record.agent_id == agent_id:
                return self._agent(record)
        raise NotFound(
            f"no agent has the id {agent_id!r}; `weft agents list` shows those that are known",
            reason=errors_pb2.ERROR_REASON_AGENT_NOT_FOUND,
            metadata={"agent_id": agent_id},
        )

    async def update(self, agent_id: str, desired_state: fleet_pb2.DesiredState) -> fleet_pb2.Agent:
        """Keep a wish, and tell the agent when it is connected.

        Raises:
            InvalidArgument: the state is none.
            NotFound: AGENT_NOT_FOUND.
        """
        known = (
            fleet_pb2.DESIRED_STATE_ACTIVE,
            fleet_pb2.DESIRED_STATE_DRAINING,
            fleet_pb2.DESIRED_STATE_PAUSED,
        )
        if desired_state not in known:
            raise InvalidArgument("desired_state must be ACTIVE, DRAINING or PAUSED", field="desired_state")
        if await self._store.set_desired(agent_id, desired_state):
            self._sessions.want(agent_id, desired_state)
        return await self.agent(agent_id)

    def serving(self, methods: Sequence[str]) -> bool:
        """Whether some agent takes calls of one of these methods now."""
        return any(self.takers(QueueKey(method)) for method in methods)

    def hosted(self) -> set[str]:
        """Methods that some agent takes calls of now."""
        here = {
            name
            for session in self._sessions.taking_work()
            for name in session.methods
            if not session.is_unavailable(name)
        }
        return here.union(
            *(
                {method.name for method in agent.methods if not method.unavailable}
                for agent in self._active_elsewhere()
            )
        )

    def takers(self, key: QueueKey) -> int:
        """How many agents take tasks of a queue now."""
        here = sum(bool(session.costs([key])) for session in self._sessions.taking_work())
        return here + sum(_takes(agent, key) for agent in self._active_elsewhere())

    def standing(self, key: QueueKey) -> Standing:
        """How the connected agents stand to a queue. Looks at each of them."""
        hosts = fitting = taking = free = 0
        for session in self._sessions.all():
            if key.method in session.methods:
                takes = session.takes_work and session.queue_cost(key) is not None
                hosts += 1
                fitting += session.could_serve(key)
                taking += takes
                free += takes and session.cost(key.method) <= session.free_slots
        for agent in self._elsewhere.values():
            for method in agent.methods:
                if method.name == key.method:
                    takes = agent.state == fleet_pb2.AGENT_STATE_ACTIVE and _takes(agent, key)
                    hosts += 1
                    fitting += method.slot_cost <= agent.slots and key.requirements.met_by(
                        agent.labels, agent.resources
                    )
                    taking += takes
                    free += takes and max(1, method.slot_cost) <= agent.slots - agent.used_slots
        return Standing(hosts, fitting, taking, free)

    def _active_elsewhere(self) -> Iterable[fleet_pb2.Agent]:
        return (agent for agent in self._elsewhere.values() if agent.state == fleet_pb2.AGENT_STATE_ACTIVE)

    def changed(self) -> None:
        """An agent that is connected here has changed: with the next `catch_up` the others look at once."""
        self._news = True

    async def catch_up(self) -> list[fleet_pb2.Agent]:
        """With a shared store: show the others the agents here, see theirs, and hear what operators told them.

        Returns: the agents that are connected elsewhere, or suspect.
        """
        records = await self._store.agents()
        news, self._news = self._news, False
        views = {
            record.agent_id: self._agent(record).SerializeToString()
            for record in records
            if self._sessions.get(record.agent_id) is not None
        }
        others = [
            self._agent(record)
            for record in records
            if record.connected and self._sessions.get(record.agent_id) is None
        ]
        self._elsewhere = {agent.id: agent for agent in others}
        for record in records:
            session = self._sessions.get(record.agent_id)
            if session is not None and record.desired_state not in (0, session.desired):
                self._sessions.want(record.agent_id, record.desired_state)  # type: ignore[arg-type]
        await self._store.share(views, news=news)
        return others

    async def connected(self) -> list[fleet_pb2.Agent]:
        """The agents that have not left, as far as the store knows."""
        return [self._agent(record) for record in await self._store.agents() if record.connected]

    async def forget_gone(self, now_s: float) -> None:
        """Forget who has been lost for long, unless an operator wants something of it when it comes back."""
        gone: dict[str, float] = {}
        for record in await self._store.agents():
            if record.connected:
                continue
            since_s = self._gone.get(record.agent_id, now_s)
            wanted = record.desired_state not in (0, fleet_pb2.DESIRED_STATE_ACTIVE)
            if wanted or now_s - since_s < self._forget_after_s:
                gone[record.agent_id] = since_s
            else:
                await self._store.forget_agent(record.agent_id)
                self._sessions.forget(record.agent_id)
        self._gone = gone

    def _agent(self, record: AgentRecord) -> fleet_pb2.Agent:
        """An agent as the coordinator says that has its session; epoch and wish as the store says.

        Each coordinator counts the late results that it refused itself: of an agent elsewhere its coordinator's count is
        shown, of one that is nowhere this one's.
        """
        session = self._sessions.get(record.agent_id)
        elsewhere = session is None and record.connected and bool(record.view)
        if session is not None:
            agent = with_load(session, self._store.now(), session.silent_for_s(time.monotonic()))
        elif elsewhere:
            agent = fleet_pb2.Agent.FromString(record.view)
        else:
            agent = fleet_pb2.Agent.FromString(record.description)
            agent.state = _state(record)
        agent.epoch = record.epoch
        agent.desired_state = record.desired_state or fleet_pb2.DESIRED_STATE_ACTIVE  # type: ignore[assignment]
        if not elsewhere:
            agent.stale_results_refused = self._sessions.stale_refused.get(record.agent_id, 0)
        return agent


def _state(record: AgentRecord) -> fleet_pb2.AgentState:
    """How an agent stands that has no session."""
    if record.connected:
        return fleet_pb2.AGENT_STATE_SUSPECT
    return fleet_pb2.AGENT_STATE_LEFT if record.left else fleet_pb2.AGENT_STATE_LOST


def _takes(agent: fleet_pb2.Agent, key: QueueKey) -> bool:
    return key.requirements.met_by(agent.labels, agent.resources) and any(
        method.name == key.method and method.slot_cost <= agent.slots and not method.unavailable
        for method in agent.methods
    )
