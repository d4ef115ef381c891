"""The access policy: ordered rules that say who may call what, which outside issuers are trusted, and how much callers may use. Pure.

A caller gets the rules that concern it when its identity is found out, and they decide from then on wherever it calls
(`weft.rpc.identity.access_rules`). So a decision costs one look-up, and each door comes to the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from weft.coordinator.access.jwt_issuer import JwtIssuer
from weft.coordinator.access.limit_entries import LimitEntry
from weft.rpc.identity.access_rules import AccessRules, MethodRule
from weft.rpc.identity.caller import Caller
from weft.rpc.identity.scope import covers


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A rule, as the file has it.

    Args:
        callers: patterns of their names (`token:shop`, `spiffe://mesh/*`, `role:client`); empty: all callers.
        line: where it is in the file; 0: not known.
    """

    rule: MethodRule
    callers: tuple[str, ...] = ()
    line: int = 0
    comment: str = ""

    def concerns(self, caller: Caller) -> bool:
        """Whether it is for calls of this caller."""
        return not self.callers or any(covers(self.callers, name) for name in caller.names)


class PolicyDecision(NamedTuple):
    """What the policy says of a call, and the rule that says so. None: no rule fits, and the default decides."""

    allowed: bool
    rule: PolicyRule | None


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """A whole policy file.

    Args:
        deny_others: hosted methods that no rule fits are denied.
        issuers: outside issuers whose tokens are trusted, each by another name and `iss`.
        limits: of callers; the first entry for a caller counts.
        namespace_limits: of all callers of a namespace together; the first entry for a namespace counts.
    """

    rules: tuple[PolicyRule, ...] = ()
    deny_others: bool = False
    issuers: tuple[JwtIssuer, ...] = ()
    limits: tuple[LimitEntry, ...] = ()
    namespace_limits: tuple[LimitEntry, ...] = ()

    def applied(self, caller: Caller) -> Caller:
        """The caller with the rules that concern it."""
        rules = [each.rule for each in self.rules if each.concerns(caller)]
        return caller._replace(rules=AccessRules(rules, deny_others=self.deny_others))

    def decide(self, caller: Caller, method: str) -> PolicyDecision:
        """What the policy says of a caller's call, in the caller's namespace. Role and scope are not looked at."""
        allowed = self.applied(caller).rules.allow(method, caller.namespace)
        deciding = (
            each for each in self.rules if each.concerns(caller) and each.rule.fits(method, caller.namespace)
        )
        return PolicyDecision(allowed, next(deciding, None))


NO_POLICY = AccessPolicy()
