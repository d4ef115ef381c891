"""Explains what tasks of sticky sessions wait for: the one agent that has their session. Pure."""

from __future__ import annotations

from weft.coordinator.fleet.agent_standing import AgentStanding
from weft.coordinator.store.rules import NO_AGENT_YET, QueueKey
from weft.coordinator.store.sticky_agent import is_hard, unbound


def explained(key: QueueKey) -> QueueKey:
    """The queue that says what a queue's tasks wait for: those whose session has no agent yet wait for any that fits."""
    needed = key.requirements
    if needed.labels and needed.session and needed.agent_id == NO_AGENT_YET:
        return QueueKey(key.method, unbound(needed))
    return key


def free_slot(key: QueueKey) -> str:
    """What tasks wait for whose agent is busy."""
    moves = "" if is_hard(key.requirements) else "; the session moves in a while, if another agent has one"
    return f"a free slot of {_agent(key)}{moves}"


def missing_agent(key: QueueKey, standing: AgentStanding) -> str:
    """What tasks wait for whose agent takes no work.

    Args:
        standing: how the agent stands to the queue: no other one can fit.
    """
    if is_hard(key.requirements):
        then = "the session is hard: its tasks wait for that process, and fail once it is gone"
    else:
        then = "the session moves as soon as another agent takes work"
    return f"{_agent(key)}: it {_state(standing)}, and {then}"


def _agent(key: QueueKey) -> str:
    return f"agent {key.requirements.agent_id}, which has the sticky session"


def _state(standing: AgentStanding) -> str:
    if not standing.fitting:
        return "is not there"
    if standing.draining:
        return "is draining"
    if standing.paused:
        return "is paused"
    return "is without its app" if standing.down else "is blocked or not back"
