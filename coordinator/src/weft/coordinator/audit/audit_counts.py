"""Bounds what callers can make the audit write: the first facts of an identity are told one by one, and the others are counted. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator

from weft.coordinator.audit.audit_event import AuditFact, Who

# Facts that one identity has counted apart in a period, and identities; those beyond share a count.
MAX_KINDS = 256
MAX_IDENTITIES = 4096
# Stands for several different names.
OTHER = "_OTHER"

_OTHERS = Who(OTHER)
# Of no fact.
_BEYOND = object()


class _Identity:
    """What is known of one identity in a period."""

    __slots__ = ("counts", "left")

    def __init__(self, left: int) -> None:
        # How many of its facts may still be told one by one.
        self.left = left
        self.counts: dict[Hashable, tuple[AuditFact, int]] = {}


class FactCounts:
    """Facts of one sort.

    Args:
        key: facts of one identity with the same key are counted together.
        burst: so many of an identity are told one by one.
        refill: and so many more in each later period.
    """

    def __init__(self, key: Callable[[AuditFact], Hashable], burst: int = 0, refill: int = 0) -> None:
        self._key = key
        self._burst = burst
        self._refill = refill
        self._identities: dict[tuple[str, str], _Identity] = {}

    def take(self, fact: AuditFact, count: int = 1) -> bool:
        """Whether a fact is to be told now. False: it is counted."""
        named = fact.who[:2]
        identity = self._identities.get(named)
        if identity is None:
            if len(self._identities) >= MAX_IDENTITIES:
                fact = fact._replace(who=_OTHERS)
                named = _OTHERS[:2]
            identity = self._identities.setdefault(named, _Identity(self._burst))
        if identity.left:
            identity.left -= 1
            return True
        key = self._key(fact)
        counts = identity.counts
        found = counts.get(key)
        if found is None and len(counts) >= MAX_KINDS:
            key = _BEYOND
            found = counts.get(key)
        if found is None:
            counts[key] = fact, count
        else:
            same = found[0]
            counts[key] = same if same == fact else _both(same, fact), found[1] + count
        return False

    def turn(self) -> Iterator[tuple[AuditFact, int]]:
        """End the period: its counts."""
        for named, identity in list(self._identities.items()):
            yield from identity.counts.values()
            identity.counts = {}
            identity.left = min(self._burst, identity.left + self._refill)
            if identity.left == self._burst:
                del self._identities[named]


def _both(one: AuditFact, other: AuditFact) -> AuditFact:
    """What two facts have in common."""
    return AuditFact(
        _same(one.action, other.action, OTHER),
        Who(
            one.who.subject,
            _same(one.who.role, other.who.role),
            _same(one.who.token_id, other.who.token_id),
            _same(one.who.namespace, other.who.namespace, OTHER),
        ),
        _same(one.peer, other.peer),
        _same(one.code, other.code, OTHER),
        _same(one.reason, other.reason),
        one.details if one.details == other.details else (),
    )


def _same(one: str, other: str, unlike: str = "") -> str:
    return one if one == other else unlike
