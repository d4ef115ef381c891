"""Reads a policy file. Each fault names the file, the line, the entry, and what to do.

default = "deny"

[[rules]]
effect = "allow"
callers = ["role:client", "token:shop"]
methods = ["acme.research.*"]
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from weft.coordinator.access.access_policy import AccessPolicy, PolicyRule
from weft.coordinator.access.issuer_entries import check_issuers, issuer_of
from weft.coordinator.access.limit_entries import limit_entry
from weft.coordinator.access.policy_entries import (
    EntryTable,
    PolicyFault,
    entries,
    lines_of_entries,
)
from weft.rpc import bounded_json
from weft.rpc.identity.access_rules import MethodRule

MAX_BYTES = 1024 * 1024
_EFFECTS = {"allow": True, "deny": False}


def read_policy(path: Path) -> AccessPolicy:
    """Read a policy file.

    Raises:
        PolicyFault
    """
    return parse_policy(policy_text(path), path)


def policy_text(path: Path) -> str:
    """What is in a policy file.

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
        return found.decode()
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
        bounded_json.check_depth(root)
    except (tomllib.TOMLDecodeError, bounded_json.TooDeep, RecursionError) as error:
        raise PolicyFault(f"{path} is not TOML: {error}; correct it there") from None
    top = EntryTable(root, str(path))
    lines = lines_of_entries(text)
    rules = tuple(_rule(table, line) for table, line in entries(top, "rules", lines))
    issuers = tuple(issuer_of(table, path.parent) for table, _ in entries(top, "issuers", lines))
    check_issuers(top, issuers)
    limits = tuple(limit_entry(table, line, "callers") for table, line in entries(top, "limits", lines))
    of_namespaces = tuple(
        limit_entry(table, line, "namespaces") for table, line in entries(top, "namespace_limits", lines)
    )
    deny_others = not _EFFECTS[top.choice("default", _EFFECTS, "allow")]
    top.end()
    return AccessPolicy(rules, deny_others, issuers, limits, of_namespaces)


def _rule(table: EntryTable, line: int) -> PolicyRule:
    allow = _EFFECTS[table.choice("effect", _EFFECTS)]
    callers = table.patterns("callers")
    methods = table.patterns("methods")
    namespaces = table.patterns("namespaces")
    comment = table.text("comment", "a text", "")
    table.end()
    return PolicyRule(MethodRule(allow, methods, namespaces), callers, line, comment)
