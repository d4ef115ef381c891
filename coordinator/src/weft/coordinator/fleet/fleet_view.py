"""The fleet as operators see and steer it: the register, with the load of each agent and the store's last word.

A method of an agent is listed from when calls of it are taken here: its contract is accepted, and in force at this coordinator.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.fleet_sync import FleetSync
from weft.coordinator.fleet.registered_agent import RegisteredAgent
from weft.coordinator.sessions.sessions import Sessions
from weft.coordinator.store.base import Store
from weft.rpc import refusals
from weft.rpc.network.channel import BATCH_BYTES
from weft.v1 import fleet_pb2

# The load adds about this many bytes to an agent's description.
_LOAD_BYTES = 100
_DESIRED_STATES = frozenset(
    {
        fleet_pb2.DESIRED_STATE_ACTIVE,
        fleet_pb2.DESIRED_STATE_DRAINING,
        fleet_pb2.DESIRED_STATE_PAUSED,
    }
)


class FleetView:
    """Lists agents, and sets their desired states."""

    def __init__(
        self, store: Store, contracts: Contracts, register: AgentRegister, sessions: Sessions, sync: FleetSync
    ) -> None:
        self._store = store
        self._contracts = contracts
        self._register = register
        self._sessions = sessions
        self._sync = sync

    async def look(self) -> None:
        """Take in what has changed until now."""
        await self._sync.look_now()

    async def page(self, method: str, after: str, size: int) -> tuple[list[fleet_pb2.Agent], bool]:
        """Agents by id from the one behind `after`, with `method` only its hosts, and whether there are more.

        A page ends early before it becomes a large message.
        """
        await self._sync.look(time.monotonic())
        page: list[RegisteredAgent] = []
        size_bytes, more = 0, False
        for agent_id in sorted(agent_id for agent_id in self._register.ids() if agent_id > after):
            if len(page) >= size or size_bytes > BATCH_BYTES:
                more = True
                break
            entry = self._register.get(agent_id)
            if entry is not None and (not method or self._lists(entry, method)):
                page.append(entry)
                size_bytes += entry.agent.ByteSize() + _LOAD_BYTES
        return await self._with_loads(page), more

    async def agent(self, agent_id: str) -> fleet_pb2.Agent:
        """One agent.

        Raises:
            NotFound: AGENT_NOT_FOUND.
        """
        await self._sync.look(time.monotonic())
        entry = self._register.get(agent_id)
        if entry is not None:
            return (await self._with_loads([entry]))[0]
        raise refusals.agent_not_found(agent_id)

    async def update(self, agent_id: str, desired_state: fleet_pb2.DesiredState) -> fleet_pb2.Agent:
        """Store an agent's desired state, and tell the agent if its session is here.

        Raises:
            InvalidArgument: `desired_state` is not one of them.
            NotFound: AGENT_NOT_FOUND.
        """
        if desired_state not in _DESIRED_STATES:
            raise refusals.invalid_field(
                "desired_state must be ACTIVE, DRAINING or PAUSED", field="desired_state"
            )
        await self.set_desired(agent_id, desired_state)
        return await self.agent(agent_id)

    async def set_desired(self, agent_id: str, desired_state: fleet_pb2.DesiredState) -> bool:
        """Store an agent's desired state, and tell the agent if its session is here; False: no such agent."""
        found = await self._store.set_desired(agent_id, desired_state)
        if found:
            self._sessions.set_desired(agent_id, desired_state)
        return found

    def _lists(self, entry: RegisteredAgent, method: str) -> bool:
        """Whether a method is listed as one that an agent hosts."""
        return (
            method in entry.methods
            and (entry.session is None or entry.session.accepted)
            and self._contracts.find(method) is not None
        )

    async def _with_loads(self, entries: Sequence[RegisteredAgent]) -> list[fleet_pb2.Agent]:
        """Agents with their loads.

        Each coordinator counts the late results that it refused. For an agent elsewhere its own coordinator's count is
        shown; for one without a session this one's.
        """
        elsewhere = [entry.agent.id for entry in entries if entry.is_elsewhere]
        loads = await self._store.loads(elsewhere) if elsewhere else {}
        agents: list[fleet_pb2.Agent] = []
        for entry in entries:
            agent = fleet_pb2.Agent()
            agent.CopyFrom(entry.agent)
            if not all(self._lists(entry, method) for method in entry.methods):
                listed = [each for each in entry.agent.methods if self._lists(entry, each.name)]
                del agent.methods[:]
                agent.methods.extend(listed)
            if entry.session is not None and entry.session.open:
                agent.MergeFrom(self._sync.load(entry.session))
            elif entry.is_elsewhere:
                agent.MergeFromString(loads.get(agent.id, b""))
            else:
                agent.stale_results_refused = self._sessions.stale_refused.get(agent.id, 0)
            agents.append(agent)
        return agents
