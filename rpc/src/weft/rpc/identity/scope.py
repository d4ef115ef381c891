"""How far a token goes: patterns of methods, hosted methods, agent ids, labels and namespaces. Pure.

A pattern is a text in which each `*` stands for any characters. It is matched in time linear to the text, whoever wrote it. An empty
list of patterns limits nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from weft.rpc.process.environment import NAMES
from weft.v1 import security_pb2

MAX_PATTERNS = 64
MAX_PATTERN_CHARS = 512
# Labels that weft adds itself: no token has to grant them.
_OWN_LABELS = frozenset({"agent.id", "agent.contract", "version", "host"})
# Those of an agent's environment: what a token does not grant is left out, and the agent joins all the same.
ENVIRONMENT_LABELS = frozenset(NAMES)
_UNASKED = _OWN_LABELS | ENVIRONMENT_LABELS


class Beyond(NamedTuple):
    """What is out of a scope: the scope's field, and the value that it does not cover."""

    scope: str
    value: str


class Scope(NamedTuple):
    """How far a token goes. The default goes everywhere."""

    methods: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    agent_ids: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()

    def has_method(self, method: str) -> bool:
        """Whether a method may be called, and its tasks be seen."""
        return not self.methods or covers(self.methods, method)

    def has_namespace(self, name: str) -> bool:
        """Whether calls may be in a namespace."""
        return not self.namespaces or covers(self.namespaces, name)

    @property
    def home(self) -> str:
        """The one namespace that it names; empty: it names none, or several."""
        return self.namespaces[0] if len(self.namespaces) == 1 and "*" not in self.namespaces[0] else ""

    def grants(self, key: str, value: str) -> bool:
        """Whether an agent may have a label."""
        return not self.labels or key in _OWN_LABELS or covers(self.labels, f"{key}={value}")

    def beyond(self, agent_id: str, hosted: Iterable[str], labels: Mapping[str, str]) -> Beyond | None:
        """What of an agent's Hello is out of the scope. None: all of it is within."""
        if self.agent_ids and not covers(self.agent_ids, agent_id):
            return Beyond("agent_ids", agent_id)
        if self.hosts:
            for method in hosted:
                if not covers(self.hosts, method):
                    return Beyond("hosts", method)
        if self.labels:
            for key, value in labels.items():
                if key not in _UNASKED and not self.grants(key, value):
                    return Beyond("labels", f"{key}={value}")
        return None


ANY = Scope()


def scope_of(scope: security_pb2.TokenScope) -> Scope:
    return Scope(
        tuple(scope.methods),
        tuple(scope.hosts),
        tuple(scope.agent_ids),
        tuple(scope.labels),
        tuple(scope.namespaces),
    )


def covers(patterns: Iterable[str], text: str) -> bool:
    """Whether some pattern fits the text."""
    return any(fits(pattern, text) for pattern in patterns)


def fits(pattern: str, text: str) -> bool:
    """Whether a pattern fits the whole text."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    *middle, last = rest
    if len(text) < len(first) + len(last) or not (text.startswith(first) and text.endswith(last)):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        # The earliest place is the best one: it leaves the most for the rest.
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
