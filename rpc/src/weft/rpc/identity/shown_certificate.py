"""Callers that are known by their certificate, since they show no token."""

from __future__ import annotations

from typing import Any

from weft.rpc import refusals
from weft.rpc.identity.shown_text import Pairs
from weft.rpc.security.peer_identity import PeerCertificate, certificate_of
from weft.rpc.security.token_metadata import shows_token


def shows_own(pairs: Pairs) -> bool:
    """Whether a call shows a token of weft's own. An `authorization` of other forms is the application's."""
    return any(shows_token(key, value) for key, value in pairs)


def certificate_shown(context: Any) -> PeerCertificate:
    """The certificate of a call's connection.

    Raises:
        Unauthenticated: TOKEN_MISSING: there is none, and no token either.
    """
    found = certificate_of(context.auth_context())
    if found is None:
        raise refusals.token_missing()
    return found
