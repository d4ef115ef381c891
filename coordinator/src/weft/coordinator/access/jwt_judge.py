"""Judges tokens (JWT) of outside issuers, by the issuers that the policy trusts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from weft.coordinator.access.issuer_keys import IssuerKeys
from weft.coordinator.access.jwt_issuer import JwtIssuer
from weft.coordinator.access.jwt_signature import JwtFault, taken_apart, verified_claims
from weft.rpc import refusals
from weft.rpc.identity.judges import TokenVerdict

# A verdict is made anew after so long: the issuer may have taken a key back.
FRESH_S = 30.0


class JwtJudge:
    """A `weft.rpc.identity.edge.Judge`.

    Args:
        now: wall-clock time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self._keys: dict[JwtIssuer, IssuerKeys] = {}

    def trust(self, issuers: tuple[JwtIssuer, ...]) -> None:
        """Trust these issuers and no others. The keys of those that have not changed are kept."""
        before, self._keys = self._keys, {}
        for each in issuers:
            self._keys[each] = before.pop(each) if each in before else IssuerKeys(each)
        for keys in before.values():
            keys.close()

    async def judge(self, text: str) -> TokenVerdict:
        """
        Raises:
            Unauthenticated: JWT_INVALID. The message says why, and has nothing of the token.
            Unavailable: ISSUER_UNAVAILABLE.
        """
        # Many are judged in a row: others want the event loop in between.
        await asyncio.sleep(0)
        try:
            if not self._keys:
                raise JwtFault("the policy of this mesh trusts no issuer of JSON web tokens")
            said = taken_apart(text)
            issuer = next((each for each in self._keys if each.issuer == said.issuer), None)
            if issuer is None:
                raise JwtFault("the policy trusts no issuer of that name (iss)")
            if said.algorithm not in issuer.algorithms:
                raise JwtFault(f"its algorithm (alg) is none of {', '.join(issuer.algorithms)}")
            key = await self._keys[issuer].find(said.key_id)
            claims = verified_claims(text, key, issuer.algorithms)
            now = self.now()
            ends_at = issuer.check_claims(claims, now)
            return TokenVerdict(issuer.caller(claims), ends_at, min(ends_at, now + FRESH_S))
        except JwtFault as fault:
            raise refusals.jwt_invalid(str(fault)) from None
