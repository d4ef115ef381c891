"""Who tells an edge what a token or a certificate is worth, and the answer."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from weft.rpc.identity.caller import Caller
from weft.rpc.identity.caller_limits import SetLimits
from weft.rpc.security.peer_identity import PeerCertificate


class TokenVerdict(NamedTuple):
    """A judge's answer: the token is valid.

    Attributes:
        ends_at: when the token ends, by the judge's clock.
        fresh_until: after this time the judge is asked again.
        text_hash: a part of the hash of the token's text; empty: something else was shown.
        limits: those that the caller's token sets. Beside others, they make the caller's own (`Caller.limits`).
    """

    caller: Caller
    ends_at: float = math.inf
    fresh_until: float = math.inf
    text_hash: bytes = b""
    limits: SetLimits = MappingProxyType({})


class Judge(Protocol):
    """Knows which tokens are valid."""

    def now(self) -> float: ...

    async def judge(self, text: str) -> TokenVerdict:
        """Judge a text that has the form of a token.

        Raises:
            Unauthenticated: it is not valid.
            Unavailable: it is not known now.
        """
        ...


class PeerJudge(Protocol):
    """Knows which certificates stand for a token."""

    async def judge_certificate(self, shown: PeerCertificate) -> TokenVerdict:
        """Judge a certificate that the port has verified.

        Raises:
            Unauthenticated: it stands for no token that is valid.
            Unavailable: it is not known now.
        """
        ...


class Metering(Protocol):
    """Knows what callers use now, and their limits."""

    def metered(self, handler: Any, path: str, caller: Caller) -> Any:
        """The handler of a path, for the calls of one caller: those beyond its limits are refused."""
        ...


# What proves who calls. A text that a caller sends never equals a certificate.
Proof = str | PeerCertificate
