"""What a task says of its sticky session, and what it therefore requires of its agent. Pure.

A task of a session requires the one agent that has the session: an id, and the label `SESSION_LABEL`, which sets its queue apart from those of
tasks that name an agent themselves. A hard session's agent is one process, which the label names: another process with the same id
does not meet it.
"""

from __future__ import annotations

from typing import NamedTuple

from weft.coordinator.store.rules import (
    AGENT_ID_LABEL,
    HARD,
    NO_AGENT_YET,
    SOFT,
    Requirements,
)
from weft.rpc.task_policy.option_checks import SESSION_LABEL

_LABELS = frozenset({AGENT_ID_LABEL, SESSION_LABEL})


class StickyAgent(NamedTuple):
    """The agent that has a session, and its process."""

    agent_id: str
    instance_id: str


# The session has no agent yet.
NOBODY = StickyAgent(NO_AGENT_YET, "")


def bound_to(needed: Requirements, agent: StickyAgent, *, hard: bool) -> Requirements:
    """The requirements of a task whose session an agent has."""
    own = ((AGENT_ID_LABEL, agent.agent_id), (SESSION_LABEL, HARD + agent.instance_id if hard else SOFT))
    return needed._replace(labels=tuple(sorted((*unbound(needed).labels, *own))))


def unbound(needed: Requirements) -> Requirements:
    """What the task needs, whichever agent has its session."""
    if not needed.session:
        return needed
    return needed._replace(labels=tuple(each for each in needed.labels if each[0] not in _LABELS))


def agent_of(needed: Requirements) -> StickyAgent:
    """The agent that has the session, by the requirements of one of its tasks."""
    return StickyAgent(needed.agent_id, needed.session.removeprefix(HARD) if is_hard(needed) else "")


def is_hard(needed: Requirements) -> bool:
    """Whether the task belongs to a hard session."""
    return needed.session.startswith(HARD)
