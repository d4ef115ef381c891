"""Resources and locks of the mesh as values: which tasks use and hold them, at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from weft.client.task_snapshot import moment
from weft.v1 import coordinator_pb2, fleet_pb2


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """One of an agent's resources."""

    agent_id: str
    # Such as "gpu".
    resource: str
    # The amount that the agent has declared, and the amount that tasks use.
    declared: float
    used: float
    # Amounts by task id, at most 100.
    users: Mapping[str, float]

    @classmethod
    def of(cls, agent_id: str, proto: fleet_pb2.ResourceUse) -> ResourceUse:
        users = {user.task_id: user.amount for user in proto.users}
        return cls(agent_id, proto.resource, proto.declared, proto.used, users)


@dataclass(frozen=True, slots=True)
class LockTask:
    """A running task that holds a lock."""

    task_id: str
    agent_id: str
    since: datetime | None
    shared: bool


@dataclass(frozen=True, slots=True)
class LockState:
    """A lock that is held or waited for."""

    name: str
    # Oldest first, at most 100.
    holders: Sequence[LockTask]
    # Queued tasks that wait for it.
    waiting: int

    @classmethod
    def of(cls, proto: fleet_pb2.LockState) -> LockState:
        holders = [
            LockTask(each.task_id, each.agent_id, moment(each, "start_time"), each.shared)
            for each in proto.holders
        ]
        return cls(proto.name, holders, proto.waiting)


@dataclass(frozen=True, slots=True)
class Resources:
    """The resources of the connected agents, by agent and name, and the locks, by name."""

    uses: Sequence[ResourceUse]
    locks: Sequence[LockState]

    @classmethod
    def of(cls, proto: coordinator_pb2.ListResourcesResponse) -> Resources:
        return cls(
            [ResourceUse.of(agent.agent_id, use) for agent in proto.agents for use in agent.resources],
            [LockState.of(lock) for lock in proto.locks],
        )
