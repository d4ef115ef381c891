"""Changes of members, as events. Pure: it compares what the register says now with what it said before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from google.protobuf.message import Message

from weft.coordinator.lifecycle.lifecycle_event import LifecycleEvent, event_of
from weft.v1 import fleet_pb2, lifecycle_pb2

Joined, Left, Lost = lifecycle_pb2.AgentJoined, lifecycle_pb2.AgentLeft, lifecycle_pb2.AgentLost
Suspect, Draining = lifecycle_pb2.AgentSuspect, lifecycle_pb2.AgentDraining
TOPICS = tuple(each.DESCRIPTOR.full_name for each in (Joined, Left, Lost, Suspect, Draining))

SUSPECT, DRAINING = fleet_pb2.AGENT_STATE_SUSPECT, fleet_pb2.AGENT_STATE_DRAINING
LOST = fleet_pb2.AGENT_STATE_LOST


class _Known(NamedTuple):
    """A member as it was seen last, and how often it has begun to drain in its session."""

    member: lifecycle_pb2.Member
    state: fleet_pb2.AgentState
    drains: int


class MemberChanges:
    """The members that are known."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def begin(self, agents: Iterable[fleet_pb2.Agent]) -> None:
        """Begin with these, without events."""
        self._known = {agent.id: _Known(_member(agent), agent.state, 0) for agent in agents}

    def changed(self, agent: fleet_pb2.Agent, *, here: bool) -> Iterator[LifecycleEvent]:
        """An agent is new, or has changed.

        Args:
            here: its session is at this coordinator, which alone sees each of its states.
        """
        before, member = self._known.get(agent.id), _member(agent)
        drains = before.drains if before is not None and before.member.epoch == agent.epoch else 0
        drained = before is not None and before.state == DRAINING and before.member.epoch == agent.epoch
        begins = here and agent.state == DRAINING and not drained
        self._known[agent.id] = _Known(member, agent.state, drains + begins)
        if before is None or before.member.epoch != agent.epoch:
            if before is not None and before.member.instance_id != agent.instance_id:
                yield _event(Lost(member=before.member), before.member)
            methods = sorted(method.name for method in agent.methods)
            yield _event(Joined(member=member, methods=methods), member)
        if agent.state == SUSPECT and (before is None or before.state != SUSPECT):
            yield _event(Suspect(member=member), member)
        if begins:
            yield _event(Draining(member=member), member, drains)

    def gone(self, agent_id: str, state: fleet_pb2.AgentState | None) -> Iterator[LifecycleEvent]:
        """An agent takes no part any more.

        Args:
            state: what is known of it. None: nothing; it has left.
        """
        before = self._known.pop(agent_id, None)
        if before is not None:
            kind = Lost if state == LOST else Left
            yield _event(kind(member=before.member), before.member)


def _member(agent: fleet_pb2.Agent) -> lifecycle_pb2.Member:
    return lifecycle_pb2.Member(
        agent_id=agent.id,
        instance_id=agent.instance_id,
        epoch=agent.epoch,
        labels=agent.labels,
        version=agent.version,
    )


def _event(message: Message, member: lifecycle_pb2.Member, count: int = 0) -> LifecycleEvent:
    return event_of(message, member.agent_id, member.agent_id, member.epoch, count)
