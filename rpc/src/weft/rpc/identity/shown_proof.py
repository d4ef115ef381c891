"""What an edge keeps of a token or a certificate that callers show."""

from __future__ import annotations

import asyncio
from typing import Any

from weft.rpc.identity.caller import Caller
from weft.rpc.identity.judges import TokenVerdict
from weft.rpc.identity.shown_text import Pairs
from weft.rpc.security.namespace_names import DEFAULT, named_in

Handler = Any
# The namespace of a call (empty: the default one), and its path.
Place = tuple[str, str]


class ShownProof:
    """A valid token, or a certificate, that callers have shown here, and their open calls."""

    __slots__ = ("handlers", "open", "verdict")

    def __init__(self, verdict: TokenVerdict) -> None:
        self.verdict = verdict
        # Open calls, with their namespaces and paths.
        self.open: dict[asyncio.Task[Any], Place] = {}
        # By namespace and path: a handler, and the same one behind the edge.
        self.handlers: dict[Place, tuple[Handler, Handler]] = {}

    def caller(self, namespace: str) -> Caller:
        """Its holder, as the caller of a call in a namespace."""
        caller = self.verdict.caller
        return caller._replace(namespace=namespace) if namespace else caller

    def namespace(self, pairs: Pairs) -> str:
        """The namespace of a call. Empty: the default one."""
        named = named_in(pairs) or self.verdict.caller.scope.home
        return "" if named == DEFAULT else named
