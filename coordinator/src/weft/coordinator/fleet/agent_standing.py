"""How the connected agents stand to a queue: counts, and what they lack. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from weft.coordinator.store.rules import QueueKey, Requirements
from weft.v1 import fleet_pb2

# An explanation names this many values of a label, and this many agents.
TOLD = 3


class AgentStanding(NamedTuple):
    """Counts of the connected agents that host a queue's method. Each of the first four is a part of the one before it."""

    hosts: int = 0
    # They have the labels, resources and slots that a task requires.
    fitting: int = 0
    # They take tasks now.
    taking: int = 0
    # They have free slots.
    free: int = 0
    # Of those with free slots: ids of agents that get nothing, or one task at a time, because their attempts keep failing.
    failing: tuple[str, ...] = ()
    # Of those that fit and take no tasks: they leave, or are paused, or the app behind them is down.
    draining: int = 0
    paused: int = 0
    down: int = 0
    # The agent that the queue avoids, if others take its tasks: it is not counted. Empty: none.
    avoided: str = ""

    @property
    def able(self) -> int:
        """Agents that fit and will take tasks if nobody changes anything: busy ones too, and ones that are blocked or suspect."""
        return self.fitting - self.draining - self.paused - self.down


def lacking(key: QueueKey, agents: Iterable[fleet_pb2.Agent]) -> str:
    """What these agents, of which none fits, have instead of what is required."""
    known = list(agents)
    requirements, told = key.requirements, list[str]()
    for label, wanted in requirements.labels:
        values = sorted({agent.labels[label] for agent in known if label in agent.labels})
        if wanted not in values:
            told.append(f"{label} is {_some(values)}" if values else f"no {label}")
    for resource, amount in (*requirements.resources, *requirements.consumes):
        most = max((agent.resources.get(resource, 0.0) for agent in known), default=0.0)
        if most < amount:
            told.append(f"the most {resource} is {most:g}")
    if told:
        return "; ".join(told)
    return "not all of it at one agent" if requirements != Requirements() else "too few slots"


def agents(count: int) -> str:
    return "1 agent" if count == 1 else f"{count} agents"


def _some(values: Sequence[str]) -> str:
    more = f" and {len(values) - TOLD} more" if len(values) > TOLD else ""
    return ", ".join(values[:TOLD]) + more
