"""One agent in the register: its present state, and the tasks that it takes. Pure.

An agent whose session is open here is judged by that session. Any other is judged by its description: its own coordinator's
view of it, or what the store remembers.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.store.records import AgentRecord
from weft.coordinator.store.rules import QueueKey
from weft.v1 import fleet_pb2

_GONE = frozenset({fleet_pb2.AGENT_STATE_LOST, fleet_pb2.AGENT_STATE_LEFT})


class Standing(enum.Enum):
    """How an agent that hosts a method stands to a queue of it."""

    UNFIT = enum.auto()
    DRAINING = enum.auto()
    PAUSED = enum.auto()
    # The app behind it.
    DOWN = enum.auto()
    # It takes no tasks for another reason, which may pass by itself: its loop is blocked, its stream is broken.
    AWAY = enum.auto()
    BUSY = enum.auto()
    FREE = enum.auto()


# Of an agent that takes tasks of the queue, or will if nobody changes anything.
_ABLE = frozenset({Standing.AWAY, Standing.BUSY, Standing.FREE})

_BY_STATE = {
    fleet_pb2.AGENT_STATE_DRAINING: Standing.DRAINING,
    fleet_pb2.AGENT_STATE_PAUSED: Standing.PAUSED,
}


class RegisteredAgent:
    """An agent.

    Attributes:
        agent: its description and state, without its load. It is replaced, never changed: watchers hold it.
        shown: the same as watchers know it; None if they do not know the agent.
        session: its session, if that is open at this coordinator.
        record: its last known record of the store.
        ended_epoch: the epoch of its last session that ended here. A record of that epoch may not know of the end.
    """

    __slots__ = ("_methods", "agent", "ended_epoch", "record", "session", "shown")

    def __init__(self) -> None:
        self.agent = fleet_pb2.Agent()
        self.shown: fleet_pb2.Agent | None = None
        self.session: AgentSession | None = None
        self.record: AgentRecord | None = None
        self.ended_epoch = 0
        self._methods: dict[str, fleet_pb2.HostedMethod] = {}

    def replace(self, agent: fleet_pb2.Agent) -> None:
        """Replace the agent's description."""
        self.agent = agent
        self._methods = {method.name: method for method in agent.methods}

    @property
    def methods(self) -> Mapping[str, fleet_pb2.HostedMethod]:
        """The methods that it hosts, by name."""
        return self._methods

    @property
    def connected(self) -> bool:
        """Neither lost nor left: it has a session, here or elsewhere, or may still come back to it."""
        return self.agent.state not in _GONE

    @property
    def has_session(self) -> bool:
        """Whether its session is open at this coordinator."""
        return self.session is not None and self.session.open

    @property
    def is_elsewhere(self) -> bool:
        """Whether another coordinator has its session, and shows it."""
        record = self.record
        return not self.has_session and record is not None and record.connected and bool(record.view)

    def available(self, method: str) -> bool:
        """Whether it takes calls of a method now."""
        hosted = self._methods.get(method)
        if hosted is None or hosted.unavailable:
            return False
        if self.session is not None:
            return self.session.takes_work
        return self.agent.state == fleet_pb2.AGENT_STATE_ACTIVE

    def fits(self, key: QueueKey) -> bool:
        """Whether it has slots, labels and resources for a task of a queue."""
        hosted = self._methods.get(key.method)
        return (
            hosted is not None
            and hosted.slot_cost <= self.agent.slots
            and key.requirements.met_by(self.agent.labels, self.agent.resources, self.agent.instance_id)
        )

    def takes(self, key: QueueKey) -> bool:
        """Whether it takes tasks of a queue now, as soon as it has free slots."""
        return self.available(key.method) and self.fits(key)

    def has_room(self, key: QueueKey) -> bool:
        """Whether it has free slots for a task of a queue. Other coordinators do not tell how many slots are used."""
        if self.session is not None:
            return self.session.cost(key.method) <= self.session.free_slots
        return max(1, self._methods[key.method].slot_cost) <= self.agent.slots

    def standing(self, key: QueueKey) -> Standing:
        """How it stands to a queue of a method that it hosts."""
        if not self.fits(key):
            return Standing.UNFIT
        if (standing := _BY_STATE.get(self.agent.state)) is not None:
            return standing
        if self._methods[key.method].unavailable:
            return Standing.DOWN
        if not self.available(key.method):
            return Standing.AWAY
        return Standing.FREE if self.has_room(key) else Standing.BUSY

    def is_able(self, key: QueueKey) -> bool:
        """Whether it takes tasks of a queue of a method that it hosts, or will if nobody changes anything."""
        return self.standing(key) in _ABLE
