"""Reads a policy file. Each fault names the file, the line, the entry, and what to do.

default = "deny"

[[rules]]
effect = "allow"
callers = ["role:client", "token:shop"]
methods = ["acme.research.*"]
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from weft.coordinator.access.access_policy import AccessPolicy, CertificateIdentity, Grant, PolicyRule
from weft.rpc.identity.access_rules import MethodRule
from weft.rpc.identity.caller import ROLES
from weft.rpc.identity.scope import MAX_PATTERN_CHARS, MAX_PATTERNS, Scope

MAX_BYTES = 1024 * 1024
MAX_ENTRIES = 1000
_EFFECTS = {"allow": True, "deny": False}
_HEADER = re.compile(r"\s*\[\[\s*(\w+)\s*\]\]")


class PolicyFault(Exception):
    """A policy file cannot be used. The message names the file, the place in it, and what to do."""


def read_policy(path: Path) -> AccessPolicy:
    """Read a policy file.

    Raises:
        PolicyFault
    """
    try:
        with path.open("rb") as file:
            found = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyFault(
            f"cannot read the policy file {path}: {error.strerror}; correct its path or mode"
        ) from None
    if len(found) > MAX_BYTES:
        raise PolicyFault(f"{path} has more than {MAX_BYTES} bytes: it is no policy file")
    try:
        return parse_policy(found.decode(), path)
    except UnicodeDecodeError as error:
        raise PolicyFault(f"{path} is not UTF-8 text, at byte {error.start}: save it as UTF-8") from None


def parse_policy(text: str, path: Path) -> AccessPolicy:
    """The policy in a text.

    Args:
        path: for messages.

    Raises:
        PolicyFault
    """
    try:
        root = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PolicyFault(f"{path} is not TOML: {error}; correct it there") from None
    top = EntryTable(root, str(path))
    lines = _lines_of_entries(text)
    rules = tuple(_rule(table, line) for table, line in _entries(top, "rules", lines))
    identities = tuple(_identity(table) for table, _ in _entries(top, "identities", lines))
    deny_others = not _EFFECTS[top.choice("default", _EFFECTS, "allow")]
    top.end()
    return AccessPolicy(rules, deny_others, identities)


class EntryTable:
    """A table of the file, whose keys are taken one after the other; `end` refuses those that are left.

    Args:
        place: for messages.
    """

    def __init__(self, values: Mapping[str, Any], place: str) -> None:
        self.place = place
        self._left = dict(values)
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

    def patterns(self, key: str) -> tuple[str, ...]:
        """A list of patterns; empty if the key is missing. An empty list in the file is a fault: it would fit everything."""
        what = 'a list of patterns, such as ["acme.*"]'
        values: list[Any] = self.take(key, list, what, ["*"])
        if not values:
            raise self.fault(f"{key} is empty: leave it out to fit all, or give patterns")
        if len(values) > MAX_PATTERNS:
            raise self.fault(f"{key} has at most {MAX_PATTERNS} patterns; make several entries of it")
        for value in values:
            if (
                not isinstance(value, str)
                or not 1 <= len(value) <= MAX_PATTERN_CHARS
                or not value.isprintable()
            ):
                raise self.fault(
                    f"{key} must be {what}, of 1 to {MAX_PATTERN_CHARS} printable characters each"
                )
        return () if values == ["*"] else tuple(values)

    def end(self) -> None:
        """Refuse keys that nothing has taken."""
        for key in self._left:
            near = difflib.get_close_matches(key, self._known, n=1)
            hint = f"; do you mean {near[0]}?" if near else f"; it has {', '.join(self._known)}"
            raise self.fault(f"unknown key {key!r}{hint}")


def _lines_of_entries(text: str) -> dict[str, list[int]]:
    """The lines of the headers `[[name]]`, by name."""
    lines: dict[str, list[int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if (found := _HEADER.match(line)) is not None:
            lines.setdefault(found[1], []).append(number)
    return lines


def _entries(top: EntryTable, name: str, lines: dict[str, list[int]]) -> Iterator[tuple[EntryTable, int]]:
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


def _rule(table: EntryTable, line: int) -> PolicyRule:
    allow = _EFFECTS[table.choice("effect", _EFFECTS)]
    callers = table.patterns("callers")
    methods = table.patterns("methods")
    namespaces = table.patterns("namespaces")
    comment = table.text("comment", "a text", "")
    table.end()
    return PolicyRule(MethodRule(allow, methods, namespaces), callers, line, comment)


def _identity(table: EntryTable) -> CertificateIdentity:
    subject = table.text("subject", "a pattern of SPIFFE ids or names, such as spiffe://mesh/agent/*")
    if not subject:
        raise table.fault("subject is empty: it is a pattern of SPIFFE ids or names")
    made = CertificateIdentity(subject, grant_of(table))
    table.end()
    return made


def grant_of(table: EntryTable) -> Grant:
    """The role and the scope in a table."""
    role = ROLES[table.choice("role", ROLES)]
    scope = Scope(*(table.patterns(field) for field in Scope._fields))
    for pattern in scope.labels:
        if "=" not in pattern:
            raise table.fault(f"labels has {pattern!r}, and must have `key=value`, such as zone=*")
    return Grant(role, scope)
