"""Which agent has a sticky session, and when it is lost. Pure, over the register of agents."""

from __future__ import annotations

from enum import Enum, auto

from weft.coordinator.fleet.agent_register import AgentRegister
from weft.coordinator.fleet.registered_agent import RegisteredAgent, Standing
from weft.coordinator.store.rules import QueueKey
from weft.coordinator.store.sticky_agent import NOBODY, StickyAgent
from weft.rpc.balancing import rendezvous
from weft.v1 import fleet_pb2


class Place(Enum):
    """How a soft session's agent stands to a call."""

    # It takes the call, now or when it has a free slot.
    STAYS = auto()
    # It takes calls of the session, but not this one: it lacks the method, or what the call requires.
    UNFIT = auto()
    # It takes no calls: the session moves.
    MOVES = auto()


def choose(
    register: AgentRegister, name: str, key: QueueKey, *, without: str = "", direct: bool = False
) -> StickyAgent:
    """The agent for a session that begins or moves: by the session's name among those that take the queue's tasks, in proportion to their slots.
    Agents with a free slot come first, and those that keep failing last, so long as there are others.

    Args:
        without: the id of an agent that is left out.
        direct: it must have a port for direct calls.

    Returns: NOBODY if no agent takes the tasks now.
    """
    taking = [each for each in register.taking(key) if each.agent.id != without]
    if direct:
        taking = [each for each in taking if takes_direct(each)]
    among = [each for each in taking if not each.agent.failing] or taking
    free = [each for each in among if each.has_room(key)]
    chosen = rendezvous.choose(name, ((each.agent.id, each.agent.slots) for each in free or among))
    return NOBODY if not chosen else present(register, chosen)


def takes_direct(entry: RegisteredAgent) -> bool:
    """Whether direct calls can reach an agent, as far as is known here."""
    agent = entry.agent
    return bool(agent.advertised_address) and agent.direct_state != fleet_pb2.DIRECT_STATE_UNREACHABLE


def has_other_room(register: AgentRegister, key: QueueKey, without: str) -> bool:
    """Whether another agent has a free slot for a queue's tasks."""
    return any(
        each.agent.id != without and not each.agent.failing and each.has_room(key)
        for each in register.taking(key)
    )


def present(register: AgentRegister, agent_id: str) -> StickyAgent:
    """An agent that is known, with its process."""
    entry = register.get(agent_id)
    return StickyAgent(agent_id, "" if entry is None else entry.agent.instance_id)


def place(register: AgentRegister, agent: StickyAgent, key: QueueKey, *, direct: bool = False) -> Place:
    """Where a call of a soft session goes.

    Args:
        key: the queue of the call, whichever agent has the session.
        direct: the call is direct.
    """
    entry = register.get(agent.agent_id)
    if entry is None or not entry.connected:
        return Place.MOVES
    standing = entry.standing(key)
    if standing is Standing.UNFIT or (direct and not takes_direct(entry)):
        return Place.UNFIT
    return Place.STAYS if entry.is_able(key) else Place.MOVES


def lost(register: AgentRegister, agent: StickyAgent, now_s: float, grace_s: float) -> str:
    """What became of the agent of a hard session, if that is lost: "has left". Empty: it is there, or may come back.

    Args:
        now_s: by the monotonic clock.
        grace_s: how long an agent whose lease has ended may take to come back.
    """
    entry = register.get(agent.agent_id)
    if entry is None:
        return "is not known any more"
    if entry.agent.instance_id != agent.instance_id:
        return "was started anew"
    return _gone(entry, register.gone_for_s(agent.agent_id, now_s), grace_s)


def _gone(entry: RegisteredAgent, gone_s: float, grace_s: float) -> str:
    if entry.agent.state == fleet_pb2.AGENT_STATE_LEFT:
        return "has left"
    if entry.agent.state == fleet_pb2.AGENT_STATE_LOST and gone_s >= grace_s:
        return f"has been away for {gone_s:.0f} s"
    return ""
