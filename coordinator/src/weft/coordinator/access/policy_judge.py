"""The judge of a coordinator's callers: by tokens of its own or of trusted issuers, with the policy's rules for each caller."""

from __future__ import annotations

from types import MappingProxyType

from weft.coordinator.access.jwt_judge import JwtJudge
from weft.coordinator.access.limit_entries import limits_of, limits_of_namespace
from weft.coordinator.access.policy_source import PolicySource
from weft.rpc.identity.caller import Caller
from weft.rpc.identity.caller_limits import NO_LIMITS, CallerLimits, SetLimits, layered
from weft.rpc.identity.judges import Judge, PeerJudge, TokenVerdict
from weft.rpc.security import tokens
from weft.rpc.security.peer_identity import PeerCertificate


class PolicyJudge:
    """A `Judge` and a `PeerJudge`: each identity passes by here, so that none is without its rules.

    Args:
        own: judges the mesh's own tokens.
        certificates: None: no port verifies those of callers.
        limits: those of callers for whom nothing else sets them.
    """

    def __init__(
        self,
        own: Judge,
        policy: PolicySource,
        certificates: PeerJudge | None = None,
        limits: SetLimits = MappingProxyType({}),
    ) -> None:
        self._limits = limits
        self._own = own
        self._certificates = certificates
        self._policy = policy
        self._outside = JwtJudge(own.now)
        self._outside.trust(policy.present.issuers)

    def now(self) -> float:
        return self._own.now()

    def look(self) -> bool:
        """Follow the policy file. True: another policy is in force, and verdicts may be others."""
        if not self._policy.look():
            return False
        self._outside.trust(self._policy.present.issuers)
        return True

    async def judge(self, text: str) -> TokenVerdict:
        """
        Raises:
            Unauthenticated: the token is not valid.
            Unavailable: it is not known now.
        """
        judge = self._own if text.startswith(tokens.PREFIX) else self._outside
        return self.ruled(await judge.judge(text))

    def trusts(self, subject: str) -> bool:
        """Whether the policy trusts the outside issuer of a subject (`jwt:NAME:...`)."""
        return any(subject.startswith(f"jwt:{each.name}:") for each in self._policy.present.issuers)

    async def judge_certificate(self, shown: PeerCertificate) -> TokenVerdict:
        """
        Raises:
            Unauthenticated: the certificate stands for no valid token.
            Unavailable: it is not known now.
        """
        assert self._certificates is not None
        return self.ruled(await self._certificates.judge_certificate(shown))

    def ruled(self, verdict: TokenVerdict) -> TokenVerdict:
        """The same verdict, with the policy's rules for the caller, and its limits."""
        if not verdict.caller.subject:
            # A coordinator's own ticket: that one has judged its own caller.
            return verdict
        caller = self._policy.present.applied(verdict.caller)
        return verdict._replace(caller=self.limited(caller, verdict.limits))

    def limited(self, caller: Caller, own: SetLimits = MappingProxyType({})) -> Caller:
        """The caller with its limits.

        Args:
            own: those that its token sets.
        """
        limits = layered(own, limits_of(self._policy.present.limits, caller), self._limits)
        return caller._replace(limits=limits) if any(limits) else caller

    def limits_of_namespace(self, namespace: str) -> CallerLimits:
        """Those of all callers of a namespace together."""
        entries = self._policy.present.namespace_limits
        return layered(limits_of_namespace(entries, namespace)) if entries else NO_LIMITS
