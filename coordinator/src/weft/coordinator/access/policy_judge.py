"""The judge of a coordinator's callers: what others prove of a caller, with the policy's rules for it."""

from __future__ import annotations

from weft.coordinator.access.policy_source import PolicySource
from weft.rpc.identity.edge import Judge, TokenVerdict


class PolicyJudge:
    """A `weft.rpc.identity.edge.Judge`: each identity passes by here, so that none is without its rules."""

    def __init__(self, tokens: Judge, policy: PolicySource) -> None:
        self._tokens = tokens
        self._policy = policy

    def now(self) -> float:
        return self._tokens.now()

    async def judge(self, text: str) -> TokenVerdict:
        """
        Raises:
            Unauthenticated: the token is not valid.
            Unavailable: it is not known now.
        """
        verdict = await self._tokens.judge(text)
        return verdict._replace(caller=self._policy.present.applied(verdict.caller))
