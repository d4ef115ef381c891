"""What watchers of the fleet are told: every agent as it is now, and what changed since any moment. Pure.

An agent stands here once, in the order of its last change; a moment is a number that grows with each change.

    since(5) ──►                ┌──────────────┐
    agents   a2@3   a4@5        │ a1@6    a3@8 │      changed: the newest counts
    gone     a7@4               │ a9@7         │      removed
                                └──────────────┘

So a watcher is a number, whatever it has missed, and nothing is kept for it. What is kept of agents that are gone is
bounded: whoever asks for what was before that gets None, and starts again with all of them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from weft.v1 import fleet_pb2

MOST_GONE = 10_000


@dataclass(frozen=True, slots=True)
class News:
    """What changed: agents as they are now, the earliest change first, and the ids of those that are gone."""

    agents: Sequence[fleet_pb2.Agent]
    removed: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Entry:
    position: int
    agent: fleet_pb2.Agent
    methods: frozenset[str]


class AgentLog:
    """The log. Agents that were put in must not be changed any more.

    Args:
        most_gone: how many departures are remembered.
    """

    def __init__(self, most_gone: int = MOST_GONE) -> None:
        self.position = 0
        self._agents: OrderedDict[str, _Entry] = OrderedDict()
        # Who stopped hosting which methods, and when.
        self._gone: deque[tuple[int, str, frozenset[str]]] = deque()
        self._most_gone = most_gone
        # Departures up to here are forgotten.
        self._floor = 0

    def get(self, agent_id: str) -> fleet_pb2.Agent | None:
        entry = self._agents.get(agent_id)
        return None if entry is None else entry.agent

    def ids(self) -> Collection[str]:
        return self._agents.keys()

    def put(self, agent: fleet_pb2.Agent) -> bool:
        """An agent is new, or is now like this; says whether that is a change."""
        known = self._agents.get(agent.id)
        if known is not None and known.agent == agent:
            return False
        methods = frozenset(method.name for method in agent.methods)
        self.position += 1
        self._agents[agent.id] = _Entry(self.position, agent, methods)
        self._agents.move_to_end(agent.id)
        if known is not None and not known.methods <= methods:
            self._note_gone(agent.id, known.methods - methods)
        return True

    def remove(self, agent_id: str) -> bool:
        """An agent is gone; says whether it was here."""
        known = self._agents.pop(agent_id, None)
        if known is None:
            return False
        self.position += 1
        self._note_gone(agent_id, known.methods)
        return True

    def all(self, methods: frozenset[str] = frozenset()) -> list[fleet_pb2.Agent]:
        """The agents that host one of `methods`, or all where none is named."""
        return [entry.agent for entry in self._agents.values() if _match(entry.methods, methods)]

    def since(self, position: int, methods: frozenset[str] = frozenset()) -> News | None:
        """What changed after a moment, among agents that host or hosted one of `methods`; None: that is not known."""
        if not self._floor <= position <= self.position:
            return None
        changed = []
        for entry in reversed(self._agents.values()):
            if entry.position <= position:
                break
            if _match(entry.methods, methods):
                changed.append(entry.agent)
        removed = set()
        for gone_at, agent_id, hosted in reversed(self._gone):
            if gone_at <= position:
                break
            if _match(hosted, methods) and not self._has(agent_id, methods):
                removed.add(agent_id)
        return News(changed[::-1], sorted(removed))

    def _has(self, agent_id: str, methods: frozenset[str]) -> bool:
        entry = self._agents.get(agent_id)
        return entry is not None and _match(entry.methods, methods)

    def _note_gone(self, agent_id: str, methods: frozenset[str]) -> None:
        self._gone.append((self.position, agent_id, methods))
        if len(self._gone) > self._most_gone:
            self._floor = self._gone.popleft()[0]


def _match(hosted: frozenset[str], wanted: frozenset[str]) -> bool:
    return not wanted or not wanted.isdisjoint(hosted)
