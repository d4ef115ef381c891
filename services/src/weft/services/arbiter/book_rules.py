"""The rules of a book: does a reservation fit, when would it, who is in its way. Pure: times are seconds, passed in.

Reservations ask for amounts from agents with certain labels (a *selector*), and selectors overlap: an agent may serve several. At one moment all of them fit
if, and only if, no group of selectors together asks for more than the agents have that match at least one of them (Hall's theorem, for amounts that may come
from several agents). A book has few selectors at a time, so all groups are tried.

    claims ─► moments at which one begins ─► amounts by selector ─► groups of selectors × capacity ─► the first shortage, or none
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

Selector = frozenset[tuple[str, str]]
# Selectors that reservations of one moment may have: 2 to the power of them are the groups that are tried.
MAX_SELECTORS = 5
# Sums of amounts such as 0.1 are not exact.
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Claim:
    """What a reservation claims: `start_s` belongs to it, `end_s` does not."""

    id: str
    amount: float
    selector: Selector
    start_s: float
    end_s: float
    priority: int = 5

    def holds_at(self, at_s: float) -> bool:
        """Whether it claims at this moment."""
        return self.start_s <= at_s < self.end_s


@dataclass(frozen=True, slots=True)
class Shortage:
    """There is too little at a moment.

    Args:
        selectors: the agents with these labels have too little, all of them together.
        wanted: what is asked of them.
        there: what they have.
    """

    at_s: float
    selectors: frozenset[Selector]
    wanted: float
    there: float


class TooManySelectorsError(Exception):
    """Reservations of one moment have too many different labels."""


class Capacity:
    """How much of a resource there is.

    Args:
        agents: of each agent its labels, and how much it has.
    """

    def __init__(self, agents: Iterable[tuple[Mapping[str, str], float]]) -> None:
        self._agents = [(frozenset(labels.items()), amount) for labels, amount in agents if amount > 0]
        self._known: dict[frozenset[Selector], float] = {}

    def of(self, selectors: frozenset[Selector]) -> float:
        """What the agents have that match at least one of the selectors."""
        found = self._known.get(selectors)
        if found is None:
            found = self._known[selectors] = sum(
                amount for labels, amount in self._agents if any(each <= labels for each in selectors)
            )
        return found

    @property
    def total(self) -> float:
        """What all agents have."""
        return sum(amount for _, amount in self._agents)


def shortage(claims: Iterable[Claim], wanted: Claim, capacity: Capacity, at_s: float) -> Shortage | None:
    """What is missing at a moment if one more is claimed; None: it fits. Of the groups, the one is named that lacks most, of
    equal ones the one with the fewest selectors.

    Raises:
        TooManySelectorsError: the claims of that moment have more than MAX_SELECTORS selectors.
    """
    amounts: Counter[Selector] = Counter()
    for claim in claims:
        if claim.holds_at(at_s):
            amounts[claim.selector] += claim.amount  # type: ignore[assignment]
    own = amounts.pop(wanted.selector, 0) + wanted.amount
    if len(amounts) >= MAX_SELECTORS:
        raise TooManySelectorsError
    worst: Shortage | None = None
    for size in range(len(amounts) + 1):
        for group in combinations(amounts, size):
            selectors = frozenset((wanted.selector, *group))
            asked, there = own + sum(amounts[each] for each in group), capacity.of(selectors)
            missing, slack = asked - there, _TOLERANCE * max(1.0, there)
            if missing > slack and (worst is None or missing > worst.wanted - worst.there + slack):
                worst = Shortage(at_s, selectors, asked, there)
    return worst


def first_shortage(claims: Sequence[Claim], wanted: Claim, capacity: Capacity) -> Shortage | None:
    """The first moment of its time at which a claim does not fit; None: it fits."""
    moments = {wanted.start_s}
    # More is asked for only where another claim begins.
    moments.update(each.start_s for each in claims if wanted.holds_at(each.start_s))
    near = [each for each in claims if each.start_s < wanted.end_s and each.end_s > wanted.start_s]
    found = (shortage(near, wanted, capacity, at_s) for at_s in sorted(moments))
    return next((each for each in found if each is not None), None)


def first_fit(claims: Sequence[Claim], wanted: Claim, capacity: Capacity) -> float | None:
    """The first time from its start on at which a claim fits as long as it is to last; None: never."""
    from_s, lasts_s = wanted.start_s, wanted.end_s - wanted.start_s
    if shortage((), wanted, capacity, from_s) is not None:
        return None
    moments = {from_s}
    for claim in claims:
        moments.update(each for each in (claim.start_s, claim.end_s) if each > from_s)
    ordered = sorted(moments)
    start_s = from_s
    for at, moment_s in enumerate(ordered):
        if moment_s >= start_s + lasts_s:
            break
        if shortage(claims, wanted, capacity, moment_s) is not None:
            # After the last moment nothing is claimed, so there is a next one.
            start_s = ordered[at + 1]
    return start_s


def in_the_way(claims: Iterable[Claim], short: Shortage) -> list[Claim]:
    """The claims that take what is missing, those that end last first."""
    found = [each for each in claims if each.holds_at(short.at_s) and each.selector in short.selectors]
    return sorted(found, key=lambda each: (-each.end_s, each.id))


def displaced(claims: Sequence[Claim], wanted: Claim, capacity: Capacity, now_s: float) -> list[Claim] | None:
    """The claims that must go for one to fit: of lower priority, not begun, the lowest and latest first. None: that is not enough."""
    lower = [
        each
        for each in claims
        if each.priority < wanted.priority
        and each.start_s > now_s
        and each.start_s < wanted.end_s
        and each.end_s > wanted.start_s
    ]
    lower.sort(key=lambda each: (each.priority, -each.start_s, each.id))
    gone: list[Claim] = []
    left = list(claims)
    while first_shortage(left, wanted, capacity) is not None:
        if not lower:
            return None
        gone.append(lower.pop(0))
        left.remove(gone[-1])
    # The first ones may have gone for nothing.
    for claim in list(gone):
        if first_shortage([*left, claim], wanted, capacity) is None:
            left.append(claim)
            gone.remove(claim)
    return gone


def at_risk(claims: Sequence[Claim], capacity: Capacity) -> set[str]:
    """The ids of claims that do not fit any more: the lowest priorities, of equal ones the last in order."""
    kept: list[Claim] = []
    found: set[str] = set()
    for claim in sorted(claims, key=lambda each: -each.priority):
        if first_shortage(kept, claim, capacity) is None:
            kept.append(claim)
        else:
            found.add(claim.id)
    return found
