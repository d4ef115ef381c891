"""Resources and locks as operators see them: what agents have declared, what is in use, and by which tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.registered_agent import RegisteredAgent
from weft.coordinator.sessions.agent_resources import AgentResources
from weft.coordinator.store.base import Store
from weft.coordinator.store.records import LockRecord
from weft.coordinator.store.rules import QueueKey
from weft.rpc.times import timestamp
from weft.v1 import coordinator_pb2, fleet_pb2

MAX_AGENTS = 1000
MAX_LOCKS = 1000

# Uses of resources by agent.
UseByAgent = Mapping[str, Sequence[fleet_pb2.ResourceUse]]


class ResourceView:
    """Lists resources and locks."""

    def __init__(self, store: Store, register: AgentRegister) -> None:
        self._store = store
        self._register = register

    async def list(self, method: str = "", lock: str = "") -> coordinator_pb2.ListResourcesResponse:
        """The resources of the connected agents, with `method` of its hosts only; and the locks, with `lock` that one only."""
        entries = [
            entry
            for agent_id in sorted(self._register.ids())
            if (entry := self._register.get(agent_id)) is not None
            and entry.connected
            and entry.agent.resources
            and (not method or method in entry.methods)
        ][:MAX_AGENTS]
        locks = await self._store.locks(lock)
        return coordinator_pb2.ListResourcesResponse(
            agents=[
                coordinator_pb2.AgentResources(agent_id=agent_id, resources=use)
                for agent_id, use in (await self._use(entries)).items()
            ],
            locks=[_lock(record) for record in locks[:MAX_LOCKS]],
        )

    async def short_of(self, key: QueueKey) -> UseByAgent:
        """The agents that take tasks of a queue, if none of them has enough left of what a task consumes; each with the resources
        of which it has too little. Empty: one has."""
        return _short(key, await self._use(self._register.taking(key)))

    def short_here(self, key: QueueKey) -> UseByAgent:
        """The same without I/O; empty also if agents elsewhere take tasks of the queue."""
        taking = self._register.taking(key)
        return {} if any(entry.session is None for entry in taking) else _short(key, _use_here(taking))

    async def _use(self, entries: Iterable[RegisteredAgent]) -> UseByAgent:
        entries = list(entries)
        elsewhere = [entry.agent.id for entry in entries if entry.is_elsewhere]
        loads = await self._store.loads(elsewhere) if elsewhere else {}
        return _use_here(entries) | {
            agent_id: use
            for agent_id, load in loads.items()
            if (use := fleet_pb2.Agent.FromString(load).resource_use)
        }


def _use_here(entries: Iterable[RegisteredAgent]) -> dict[str, Sequence[fleet_pb2.ResourceUse]]:
    """The resources of agents, by what is known here."""
    return {
        entry.agent.id: list(
            (
                AgentResources(entry.agent.resources) if entry.session is None else entry.session.resources
            ).use()
        )
        for entry in entries
    }


def _short(key: QueueKey, use: UseByAgent) -> UseByAgent:
    amounts = dict(key.requirements.consumes)
    short = {
        agent_id: [each for each in uses if each.declared - each.used < amounts.get(each.resource, 0.0)]
        for agent_id, uses in use.items()
    }
    return short if all(short.values()) else {}


def _lock(record: LockRecord) -> fleet_pb2.LockState:
    return fleet_pb2.LockState(
        name=record.name,
        holders=[
            fleet_pb2.LockHolder(
                task_id=holder.task_id,
                agent_id=holder.agent_id,
                start_time=timestamp(holder.since),
                shared=holder.shared,
            )
            for holder in record.holders
        ],
        waiting=record.waiting,
    )
