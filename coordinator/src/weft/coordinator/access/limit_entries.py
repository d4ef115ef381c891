"""The limits in a policy file: of callers, and of namespaces as a whole.

[[limits]]
callers = ["role:client"]
calls_per_s = 100
queued_tasks = 10_000

[[namespace_limits]]
namespaces = ["team-*"]
open_calls = 500
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from weft.coordinator.access.policy_entries import EntryTable
from weft.rpc.identity.caller import Caller
from weft.rpc.identity.caller_limits import CallerLimits, SetLimits, fault_of
from weft.rpc.identity.scope import covers

_NONE: SetLimits = {}


@dataclass(frozen=True, slots=True)
class LimitEntry:
    """Limits, and whose they are.

    Args:
        patterns: of callers' names, as in rules; or of namespaces. Empty: all.
        line: where it is in the file; 0: not known.
    """

    limits: SetLimits
    patterns: tuple[str, ...] = ()
    line: int = 0

    def concerns(self, names: Iterable[str]) -> bool:
        """Whether it is for something with these names."""
        return not self.patterns or any(covers(self.patterns, name) for name in names)


def limit_entry(table: EntryTable, line: int, patterns: str) -> LimitEntry:
    """An entry of the file.

    Args:
        patterns: the key of its patterns.

    Raises:
        PolicyFault
    """
    fitting = table.patterns(patterns)
    given: dict[str, float] = {}
    for name in CallerLimits._fields:
        value = table.number(name)
        if value is None:
            continue
        if fault := fault_of(name, value):
            raise table.fault(fault)
        given[name] = value
    table.text("comment", "a text", "")
    table.end()
    if not given:
        raise table.fault(f"it sets no limit: add one of {', '.join(CallerLimits._fields)}")
    return LimitEntry(given, fitting, line)


def limits_of(entries: Sequence[LimitEntry], caller: Caller) -> SetLimits:
    """Those of the first entry for a caller."""
    return _first(entries, tuple(caller.names))


def limits_of_namespace(entries: Sequence[LimitEntry], namespace: str) -> SetLimits:
    """Those of the first entry for a namespace."""
    return _first(entries, (namespace,))


def _first(entries: Sequence[LimitEntry], names: Sequence[str]) -> SetLimits:
    return next((each.limits for each in entries if each.concerns(names)), _NONE)
