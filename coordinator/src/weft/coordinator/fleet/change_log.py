"""The order in which agents changed: it gives the changes after any position. Pure.

An agent stands here once, at the position of its last change. Positions only grow.

    since(5) ──►                ┌──────────────┐
    agents   a2@3   a4@5        │ a1@6    a3@8 │      changed: the last change counts
    gone     a7@4               │ a9@7         │      removed
                                └──────────────┘

So a watcher is one number, however much it has missed, and the log keeps nothing for it. The number of departures that it
keeps is bounded: a watcher from before them gets None, and starts again with a snapshot.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from typing import NamedTuple

MAX_DEPARTURES = 10_000


class Changes(NamedTuple):
    """Ids of agents: those that changed, the earliest change first, and those that are gone."""

    changed: Sequence[str]
    removed: Sequence[str]


class _Place(NamedTuple):
    position: int
    methods: Collection[str]


class ChangeLog:
    """The log.

    Args:
        max_departures: how many departures it keeps.
    """

    def __init__(self, max_departures: int = MAX_DEPARTURES) -> None:
        self.position = 0
        self._places: OrderedDict[str, _Place] = OrderedDict()
        # Agents that stopped hosting methods: the position, the agent, the methods.
        self._departures: deque[tuple[int, str, Collection[str]]] = deque()
        self._max_departures = max_departures
        # Departures up to this position are forgotten.
        self._floor = 0

    def put(self, agent_id: str, methods: Collection[str]) -> None:
        """An agent is new, or has changed; `methods` are those that it hosts now."""
        known = self._places.get(agent_id)
        self.position += 1
        self._places[agent_id] = _Place(self.position, methods)
        self._places.move_to_end(agent_id)
        if known is not None:
            ended = frozenset(known.methods).difference(methods)
            if ended:
                self._note_departure(agent_id, ended)

    def remove(self, agent_id: str) -> None:
        """An agent is gone. Harmless for an agent that is not here."""
        known = self._places.pop(agent_id, None)
        if known is not None:
            self.position += 1
            self._note_departure(agent_id, known.methods)

    def ids(self, methods: frozenset[str] = frozenset()) -> list[str]:
        """The agents that host one of `methods`; without methods all agents."""
        return [agent_id for agent_id, place in self._places.items() if _match(place.methods, methods)]

    def since(self, position: int, methods: frozenset[str] = frozenset()) -> Changes | None:
        """The changes after `position`, among agents that host or hosted one of `methods`.

        Returns: None if the log does not know that position.
        """
        if not self._floor <= position <= self.position:
            return None
        changed: list[str] = []
        for agent_id, place in reversed(self._places.items()):
            if place.position <= position:
                break
            if _match(place.methods, methods):
                changed.append(agent_id)
        removed: set[str] = set()
        for departed_at, agent_id, hosted in reversed(self._departures):
            if departed_at <= position:
                break
            if _match(hosted, methods) and not self._has(agent_id, methods):
                removed.add(agent_id)
        return Changes(changed[::-1], sorted(removed))

    def _has(self, agent_id: str, methods: frozenset[str]) -> bool:
        place = self._places.get(agent_id)
        return place is not None and _match(place.methods, methods)

    def _note_departure(self, agent_id: str, methods: Collection[str]) -> None:
        self._departures.append((self.position, agent_id, methods))
        if len(self._departures) > self._max_departures:
            self._floor = self._departures.popleft()[0]


def _match(hosted: Collection[str], asked: frozenset[str]) -> bool:
    return not asked or not asked.isdisjoint(hosted)
