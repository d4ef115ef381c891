"""Checks of tokens: which of them end soon. Only an operator can list them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from weft.cli.doctor.diagnosis import Diagnosis, warning
from weft.client import Mesh, PermissionDenied, Token, Unauthenticated

_SOON = timedelta(days=7)
# Tokens in findings of their own.
_NAMED = 20


async def listed(mesh: Mesh) -> list[Token]:
    """The tokens, as far as this caller may list them."""
    try:
        return [token async for token in mesh.tokens.list()]
    except (PermissionDenied, Unauthenticated):
        return []


def findings(tokens: Iterable[Token], now: datetime) -> Iterator[Diagnosis]:
    """Which valid tokens end within a week."""
    ending = [
        token
        for token in tokens
        if token.revoked_at is None and token.expires_at is not None and now < token.expires_at < now + _SOON
    ]
    for token in sorted(ending, key=lambda each: each.expires_at or now)[:_NAMED]:
        assert token.expires_at is not None
        hours = (token.expires_at - now).total_seconds() / 3600
        what = ", ".join(filter(None, (token.role, token.name, token.comment)))
        yield warning(
            f"token {token.id}",
            f"it ends in {hours / 24:.1f} days ({what})",
            f"weft tokens rotate {token.id}, and give its holders the new one; or let it end, if nobody needs it",
        )
    if len(ending) > _NAMED:
        yield warning("tokens", f"{len(ending) - _NAMED} more end within a week", "weft tokens list")
