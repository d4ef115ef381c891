"""Outside issuers of tokens (OIDC), as the policy file has them: whose tokens are trusted, and what their claims grant. Pure.

[[issuers]]
name = "corp"
issuer = "https://login.corp.example"
audiences = ["weft"]

[[issuers.grants]]
claim = "groups"
values = ["mesh-operators"]
role = "operator"
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from weft.coordinator.access.grant import Grant
from weft.coordinator.access.jwt_signature import JwtFault
from weft.rpc.identity.caller import Caller
from weft.rpc.identity.scope import Scope, covers
from weft.rpc.network.agent_ports import stays_here

MAX_SUBJECT_CHARS = 256
_PLACE = re.compile(r"\{([^{}]+)\}")
# Beyond this, a number is no time.
_LATEST = 1e12


@dataclass(frozen=True, slots=True)
class JwtGrant:
    """What a token gets one of whose claims has one of the values. Without a claim: each token of the issuer."""

    grant: Grant
    claim: str = ""
    values: tuple[str, ...] = ()

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token with these claims gets it."""
        return not self.claim or any(covers(self.values, text) for text in _texts(claims, self.claim))


@dataclass(frozen=True, slots=True)
class JwtIssuer:
    """An issuer.

    Args:
        name: in subjects: `jwt:NAME:SUBJECT`.
        issuer: the claim `iss` of its tokens.
        keys: a file's path or a URL of its key set; empty: OIDC's discovery at `issuer` tells.
        ca: file of the authorities that sign the certificate of that URL's server; empty: those of the system.
    """

    name: str
    issuer: str
    audiences: tuple[str, ...]
    grants: tuple[JwtGrant, ...]
    keys: str = ""
    ca: str = ""
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    leeway_s: float = 30.0

    def check_claims(self, claims: Mapping[str, Any], now: float) -> float:
        """Check for whom and when a verified token is valid; returns when it ends.

        Raises:
            JwtFault: it is not valid, here or now.
        """
        audience = claims.get("aud")
        given = audience if isinstance(audience, list) else [audience]
        if not any(each in self.audiences for each in given if isinstance(each, str)):
            raise JwtFault(f"it is for another audience than {' or '.join(self.audiences)} (aud)")
        for name, what in (("nbf", "valid"), ("iat", "issued")):
            if name in claims and (late := _time(claims, name) - self.leeway_s - now) > 0:
                raise JwtFault(
                    f"it is {what} {late:.0f} s from now ({name}): compare the clocks of the issuer and this machine"
                )
        ends_at = _time(claims, "exp") + self.leeway_s
        if now >= ends_at:
            raise JwtFault(
                f"it has expired {now - ends_at + self.leeway_s:.0f} s ago (exp): get a new one from the issuer"
            )
        return ends_at

    def caller(self, claims: Mapping[str, Any]) -> Caller:
        """The caller that a verified token stands for: by the first grant that fits.

        Raises:
            JwtFault: none fits, or the claims lack what it needs.
        """
        subject = claims.get("sub")
        if (
            not isinstance(subject, str)
            or not 1 <= len(subject) <= MAX_SUBJECT_CHARS
            or not subject.isprintable()
        ):
            raise JwtFault(f"its subject (sub) must have 1 to {MAX_SUBJECT_CHARS} printable characters")
        for each in self.grants:
            if each.fits(claims):
                grant = each.grant._replace(scope=_filled(each.grant.scope, claims))
                return grant.caller(f"jwt:{self.name}:{subject}")
        raise JwtFault(f"no grant of the policy's issuer {self.name} fits its claims")


def is_safe_url(url: str) -> bool:
    """Whether keys may be fetched from there: by HTTPS, or from this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and stays_here(f"[{host}]:0")))


def _time(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise JwtFault(f"it has no time {name}")
    if not math.isfinite(value) or not 0 <= value <= _LATEST:
        raise JwtFault(f"its time {name} is none")
    return float(value)


def _filled(scope: Scope, claims: Mapping[str, Any]) -> Scope:
    """A scope whose patterns have `{claim}` replaced by the claim's text.

    Raises:
        JwtFault: a claim is missing, or would widen the pattern.
    """

    def text(found: re.Match[str]) -> str:
        texts = _texts(claims, found[1])
        if len(texts) != 1:
            raise JwtFault(f"its claim {found[1]} must be one text: the policy makes a scope of it")
        if "*" in texts[0] or not texts[0].isprintable() or not texts[0]:
            raise JwtFault(f"its claim {found[1]} has characters that a scope cannot have")
        return texts[0]

    return Scope(*(tuple(_PLACE.sub(text, pattern) for pattern in patterns) for patterns in scope))


def _texts(claims: Mapping[str, Any], path: str) -> list[str]:
    """The texts of a claim; `a.b` is the claim `b` in the claim `a`, unless there is a claim `a.b`."""
    found = _claim(claims, path)
    values = found if isinstance(found, list) else [found]
    return [str(value) for value in values if isinstance(value, str | int) and not isinstance(value, bool)]


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    if path in claims:
        return claims[path]
    at = path.find(".")
    while at >= 0:
        inner = claims.get(path[:at])
        if isinstance(inner, dict) and (found := _claim(inner, path[at + 1 :])) is not None:
            return found
        at = path.find(".", at + 1)
    return None
