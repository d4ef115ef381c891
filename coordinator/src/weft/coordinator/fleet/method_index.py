"""The hosts of each method, so that a question about a method or a queue does not examine the whole fleet. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from weft.coordinator.fleet.registered_agent import RegisteredAgent
from weft.coordinator.store.rules import QueueKey

# Queues of a method whose count is kept. Clients choose requirements, so there may be any number of them.
MAX_COUNTS = 512


class MethodIndex:
    """Connected agents by method. `examined` counts the agents that questions have examined."""

    def __init__(self) -> None:
        self._hosts: dict[str, dict[str, RegisteredAgent]] = {}
        self._indexed: dict[str, Collection[str]] = {}
        # By method and queue, until an agent that hosts the method changes.
        self._counts: dict[str, dict[QueueKey, tuple[int, int]]] = {}
        self.examined = 0

    def put(self, agent_id: str, entry: RegisteredAgent) -> None:
        """An agent is new or has changed."""
        methods = entry.methods.keys() if entry.connected else ()
        self._drop(agent_id, self._indexed.pop(agent_id, ()))
        for method in methods:
            self._hosts.setdefault(method, {})[agent_id] = entry
            self._counts.pop(method, None)
        if methods:
            self._indexed[agent_id] = methods

    def remove(self, agent_id: str) -> None:
        """An agent is not known any more."""
        self._drop(agent_id, self._indexed.pop(agent_id, ()))

    def _drop(self, agent_id: str, methods: Iterable[str]) -> None:
        for method in methods:
            self._counts.pop(method, None)
            hosts = self._hosts[method]
            del hosts[agent_id]
            if not hosts:
                del self._hosts[method]

    def hosts(self, method: str) -> Iterable[RegisteredAgent]:
        """The connected agents that host a method."""
        for entry in self._hosts.get(method, {}).values():
            self.examined += 1
            yield entry

    def served(self) -> set[str]:
        """The methods that some agent takes calls of now."""
        return {method for method in self._hosts if self.serves(method)}

    def serves(self, method: str) -> bool:
        """Whether some agent takes tasks of a method now."""
        key = QueueKey(method)
        return any(entry.takes(key) for entry in self.hosts(method))

    def elsewhere(self, key: QueueKey) -> tuple[int, int]:
        """How many agents without a session here take tasks of a queue, and how many of those keep failing."""
        if key.method not in self._hosts:
            return 0, 0
        counts = self._counts.setdefault(key.method, {})
        found = counts.get(key)
        if found is None:
            if len(counts) >= MAX_COUNTS:
                counts.clear()
            serving = [
                entry.agent
                for agent_id, entry in self._hosts[key.method].items()
                if entry.session is None and agent_id != key.avoid and entry.takes(key)
            ]
            self.examined += len(self._hosts[key.method])
            found = counts[key] = (len(serving), sum(agent.failing for agent in serving))
        return found


class NameCounts:
    """How many agents have each name: of a contract, or of a method."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def change(self, before: Iterable[str], after: Iterable[str]) -> None:
        """One agent had some names, and has others now."""
        # The new names first: a name in both is never gone.
        for name in after:
            self._counts[name] += 1
        for name in before:
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]

    def names(self) -> list[str]:
        return list(self._counts)
