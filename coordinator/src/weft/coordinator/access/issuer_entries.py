"""Reads the issuers of a policy file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from weft.coordinator.access.jwt_issuer import JwtGrant, JwtIssuer, is_safe_url
from weft.coordinator.access.jwt_signature import ALGORITHMS
from weft.coordinator.access.policy_entries import EntryTable, entries, grant_of
from weft.rpc.process.extras import MissingExtra, require

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
MAX_LEEWAY_S = 600
_DEFAULT_LEEWAY_S = 30


def issuer_of(table: EntryTable, folder: Path) -> JwtIssuer:
    """An issuer.

    Args:
        folder: of the policy file; paths in the file are relative to it.

    Raises:
        PolicyFault
    """
    name = table.text("name", "what subjects say of it: jwt:NAME:SUBJECT")
    if not _NAME.fullmatch(name):
        raise table.fault(
            f"name is {name!r}, and must have 1 to 64 letters, digits, dots, dashes and underscores"
        )
    issuer = table.text("issuer", "the claim iss of its tokens, such as https://login.example")
    audiences = table.texts("audiences", 'a list of texts, such as ["weft"]', needed=True)
    keys = table.text("keys", "a file or URL of its key set (JWKS)", "")
    if "://" in (keys or issuer):
        _check_url(table, "keys" if keys else "issuer", keys or issuer)
    elif not keys:
        raise table.fault("keys is missing: its issuer is no URL where they could be found")
    else:
        keys = str(folder / keys)
    ca = table.text("ca", "a file of authorities", "")
    algorithms = table.texts("algorithms", f"a list of {', '.join(ALGORITHMS)}")
    for each in algorithms:
        if each not in ALGORITHMS:
            raise table.fault(f"algorithms has {each!r}: there are {', '.join(ALGORITHMS)}")
    leeway_s = table.take("leeway_s", int, f"whole seconds, at most {MAX_LEEWAY_S}", _DEFAULT_LEEWAY_S)
    if not 0 <= leeway_s <= MAX_LEEWAY_S:
        raise table.fault(f"leeway_s must be 0 to {MAX_LEEWAY_S} seconds")
    grants = tuple(_grant(each) for each, _ in entries(table, "grants", {}))
    if not grants:
        raise table.fault("it has no grants, so that its tokens are worth nothing: add [[issuers.grants]]")
    table.end()
    _require_packages(table)
    ca = str(folder / ca) if ca else ""
    made = JwtIssuer(name, issuer, audiences, grants, keys, ca, leeway_s=float(leeway_s))
    return made if not algorithms else replace(made, algorithms=algorithms)


def check_issuers(top: EntryTable, issuers: Sequence[JwtIssuer]) -> None:
    """Refuse issuers that cannot be told apart.

    Raises:
        PolicyFault
    """
    for what in ("name", "issuer"):
        seen = [getattr(each, what) for each in issuers]
        if len(set(seen)) < len(seen):
            raise top.fault(f"issuers: two have the same {what}")


def _grant(table: EntryTable) -> JwtGrant:
    claim = table.text("claim", "the name of a claim, such as groups or realm_access.roles", "")
    values = table.texts("values", "a list of patterns of the claim's values", needed=bool(claim))
    if values and not claim:
        raise table.fault("values are those of a claim: add claim")
    grant = grant_of(table)
    table.end()
    return JwtGrant(grant, claim, values or ("*",))


def _check_url(table: EntryTable, key: str, url: str) -> None:
    if not is_safe_url(url):
        raise table.fault(f"{key} must begin with https://: who changes keys on their way makes tokens")


def _require_packages(table: EntryTable) -> None:
    try:
        require("security")
    except MissingExtra as error:
        raise table.fault(f"tokens of issuers cannot be verified: {error}") from None
