"""What the mesh's policy lets one caller call: rules in their order, of which the first fitting one decides. Pure.

They travel with the caller: the coordinator makes them of its policy file, and an agent gets them with the answer that says whose
a token is. So every door comes to the same decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from weft.rpc.contracts import names
from weft.rpc.identity.scope import covers
from weft.rpc.security.namespace_names import DEFAULT
from weft.v1 import security_pb2

# Decisions that are kept of one caller. Callers make names of methods.
_KEPT = 4096


class MethodRule(NamedTuple):
    """A rule: it fits a call if a pattern of each list does. An empty list fits all."""

    allow: bool
    methods: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()

    def fits(self, method: str, namespace: str) -> bool:
        """Whether it decides on calls of a method in a namespace."""
        if not self.is_for(namespace):
            return False
        if names.is_reserved(method.rpartition("/")[0]):
            # A broad pattern must not shut an operator out by accident: weft's own RPCs are ruled by their roles, unless they are named.
            return covers((each for each in self.methods if _names_own(each)), method)
        return not self.methods or covers(self.methods, method)

    def is_for(self, namespace: str) -> bool:
        """Whether it decides on calls in a namespace (empty: the default one)."""
        return not self.namespaces or covers(self.namespaces, namespace or DEFAULT)


class AccessRules:
    """The rules that concern one caller.

    Args:
        deny_others: hosted methods that no rule fits are denied.
    """

    __slots__ = ("_decided", "deny_others", "rules")

    def __init__(self, rules: Iterable[MethodRule] = (), *, deny_others: bool = False) -> None:
        self.rules = tuple(rules)
        self.deny_others = deny_others
        self._decided: dict[tuple[str, str], bool] = {}

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, AccessRules)
            and self.rules == other.rules
            and self.deny_others == other.deny_others
        )

    def __hash__(self) -> int:
        return hash((self.rules, self.deny_others))

    def __bool__(self) -> bool:
        """Whether they can deny anything."""
        return self.deny_others or bool(self.rules)

    def allow(self, method: str, namespace: str = "") -> bool:
        """Whether the caller may call a method ("package.Service/Method") in a namespace (empty: the default one)."""
        if not self:
            return True
        allowed = self._decided.get((method, namespace))
        if allowed is None:
            allowed = self._decide(method, namespace)
            if len(self._decided) >= _KEPT:
                self._decided.clear()
            self._decided[method, namespace] = allowed
        return allowed

    def _decide(self, method: str, namespace: str) -> bool:
        for rule in self.rules:
            if rule.fits(method, namespace):
                return rule.allow
        return not self.deny_others or names.is_reserved(method.rpartition("/")[0])

    def within(self, namespace: str) -> AccessRules:
        """The rules for calls in one namespace. They do not say it any more."""
        kept = (each._replace(namespaces=()) for each in self.rules if each.is_for(namespace))
        return AccessRules(kept, deny_others=self.deny_others)

    def message(self) -> security_pb2.AccessRules:
        """As they are sent."""
        return security_pb2.AccessRules(
            rules=[
                security_pb2.AccessRule(allow=each.allow, methods=each.methods, namespaces=each.namespaces)
                for each in self.rules
            ],
            deny_others=self.deny_others,
        )


NO_RULES = AccessRules()


def rules_of(message: security_pb2.AccessRules) -> AccessRules:
    """The rules in a message."""
    rules = (MethodRule(each.allow, tuple(each.methods), tuple(each.namespaces)) for each in message.rules)
    return AccessRules(rules, deny_others=message.deny_others) if message.ByteSize() else NO_RULES


def _names_own(pattern: str) -> bool:
    """Whether a pattern names RPCs of weft's own."""
    return pattern.startswith(("weft.", "grpc."))
