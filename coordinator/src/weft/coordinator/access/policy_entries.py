"""The entries of a policy file: tables whose keys are taken one by one, with faults that name the place in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from weft.coordinator.access.grant import Grant
from weft.rpc.identity.caller import ROLES
from weft.rpc.identity.scope import MAX_PATTERN_CHARS, MAX_PATTERNS, Scope
from weft.rpc.similar_names import similar_names

MAX_ENTRIES = 1000
_HEADER = re.compile(r"\s*\[\[\s*([\w.]+)\s*\]\]")


class PolicyFault(Exception):
    """A policy file cannot be used. The message names the file, the place in it, and what to do."""


class EntryTable:
    """A table of the file, whose keys are taken one after the other; `end` refuses those that are left.

    Args:
        place: for messages.
    """

    def __init__(self, values: Mapping[str, Any], place: str) -> None:
        self.place = place
        self._left = dict(values)
        self._given = frozenset(values)
        self._known: list[str] = []

    def fault(self, what: str) -> PolicyFault:
        return PolicyFault(f"{self.place}: {what}")

    def take(self, key: str, kind: type, what: str, default: Any = None) -> Any:
        """A key's value, of a type. Without a default it must be there."""
        self._known.append(key)
        if key not in self._left:
            if default is None:
                raise self.fault(f"{key} is missing: it is {what}")
            return default
        value = self._left.pop(key)
        # In Python, a truth value is a number, too.
        if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
            raise self.fault(f"{key} must be {what}")
        return value

    def number(self, key: str) -> float | None:
        """A number; None: the key is missing."""
        self._known.append(key)
        value = self._left.pop(key, None)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise self.fault(f"{key} must be a number")
        return value

    def text(self, key: str, what: str, default: str | None = None) -> str:
        value: str = self.take(key, str, what, default)
        if len(value) > MAX_PATTERN_CHARS or (value and not value.isprintable()):
            raise self.fault(f"{key} must be {what}, of at most {MAX_PATTERN_CHARS} printable characters")
        return value

    def choice(self, key: str, of: Mapping[str, Any], default: str | None = None) -> str:
        what = f"one of {', '.join(of)}"
        value = self.text(key, what, default)
        if value not in of:
            raise self.fault(f"{key} is {value!r}, and must be {what}")
        return value

    def texts(self, key: str, what: str, *, needed: bool = False) -> tuple[str, ...]:
        """A list of texts; empty if the key is missing. A list that is empty in the file is a fault: it could seem to fit nothing."""
        values: list[Any] = self.take(key, list, what, None if needed else ["*"])
        if key not in self._given:
            return ()
        if not values:
            raise self.fault(f"{key} is empty: it must be {what}, or be left out")
        if len(values) > MAX_PATTERNS:
            raise self.fault(f"{key} has at most {MAX_PATTERNS} texts; make several entries of it")
        for value in values:
            if (
                not isinstance(value, str)
                or not 1 <= len(value) <= MAX_PATTERN_CHARS
                or not value.isprintable()
            ):
                raise self.fault(
                    f"{key} must be {what}, of 1 to {MAX_PATTERN_CHARS} printable characters each"
                )
        return tuple(values)

    def patterns(self, key: str) -> tuple[str, ...]:
        """A list of patterns; empty: everything fits."""
        values = self.texts(key, 'a list of patterns, such as ["acme.*"]')
        return () if values == ("*",) else values

    def end(self) -> None:
        """Refuse keys that nothing has taken."""
        for key in self._left:
            near = similar_names(key, self._known)
            hint = f"; do you mean {near[0]}?" if near else f"; it has {', '.join(self._known)}"
            raise self.fault(f"unknown key {key!r}{hint}")


def lines_of_entries(text: str) -> dict[str, list[int]]:
    """The lines of the headers `[[name]]`, by name."""
    lines: dict[str, list[int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if (found := _HEADER.match(line)) is not None:
            lines.setdefault(found[1], []).append(number)
    return lines


def entries(top: EntryTable, name: str, lines: dict[str, list[int]]) -> Iterator[tuple[EntryTable, int]]:
    """The tables of an array, and the line of each; 0: it is written in a way that does not tell."""
    entries: list[Any] = top.take(name, list, f"tables, each with the header [[{name}]]", [])
    if len(entries) > MAX_ENTRIES:
        raise top.fault(f"{name} has at most {MAX_ENTRIES} entries")
    where = lines.get(name, [])
    known = len(where) == len(entries)
    for number, entry in enumerate(entries):
        line = where[number] if known else 0
        place = f"{top.place}{f':{line}' if line else ''}: {name}, entry {number + 1}"
        if not isinstance(entry, dict):
            raise PolicyFault(f"{place} must be a table, with the header [[{name}]]")
        yield EntryTable(entry, place), line


def grant_of(table: EntryTable) -> Grant:
    """The role and the scope in a table."""
    role = ROLES[table.choice("role", ROLES)]
    scope = Scope(*(table.patterns(field) for field in Scope._fields))
    for pattern in scope.labels:
        if "=" not in pattern:
            raise table.fault(f"labels has {pattern!r}, and must have `key=value`, such as zone=*")
    return Grant(role, scope)
