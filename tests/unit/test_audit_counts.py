"""What callers can make the audit write is bounded, and nothing of it is left out of the counts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.coordinator.audit.audit_counts import MAX_IDENTITIES, MAX_KINDS, OTHER, FactCounts
from weft.coordinator.audit.audit_event import AuditFact, Who

SHOP, OTHERS = Who("token:shop", "client", "t1"), Who("token:other", "client", "t2")
FACTS = st.builds(
    AuditFact,
    st.sampled_from(["a.S/A", "a.S/B"]),
    st.sampled_from([SHOP, OTHERS, SHOP._replace(namespace="team"), Who()]),
    st.sampled_from(["", "10.0.0.1", "10.0.0.2"]),
    st.just("PERMISSION_DENIED"),
    st.sampled_from(["OUT_OF_SCOPE", "ROLE_NEEDED"]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(FACTS, max_size=15), max_size=3), st.integers(0, 5), st.integers(0, 3))
def test_each_fact_is_told_or_counted_once(periods: list[list[AuditFact]], burst: int, refill: int) -> None:
    counts = FactCounts(lambda fact: fact.reason, burst, refill)
    for period in periods:
        told = [fact for fact in period if counts.take(fact)]
        counted = list(counts.turn())
        assert len(told) + sum(count for _, count in counted) == len(period)
        by_one = [len([1 for fact in told if fact.who[:2] == who[:2]]) for who in (SHOP, OTHERS, Who())]
        assert max(by_one) <= burst
        # Two reasons, three identities.
        assert len(counted) <= 6
        for fact, _ in counted:
            like = [each for each in period if (*each.who[:2], each.reason) == (*fact.who[:2], fact.reason)]
            assert fact.action == OTHER or any(each.action == fact.action for each in like)


def test_a_flood_makes_few_events() -> None:
    counts = FactCounts(lambda fact: fact.reason, burst=10, refill=1)
    events = 0
    for minute in range(60):
        for number in range(1000):
            fact = AuditFact(
                f"made.up/{number}", Who(), f"10.0.{minute}.{number % 250}", "U", "TOKEN_MISSING"
            )
            events += counts.take(fact)
        found = list(counts.turn())
        assert [(fact.action, fact.peer, fact.reason) for fact, _ in found] == [(OTHER, "", "TOKEN_MISSING")]
        events += len(found)
    assert events == 10 + 59 + 60


def test_the_budget_comes_back() -> None:
    counts = FactCounts(lambda fact: fact.action, burst=3, refill=2)
    fact = AuditFact("a.S/A", SHOP)
    taken = []
    for _ in range(3):
        taken.append([counts.take(fact) for _ in range(5)].count(True))
        list(counts.turn())
    assert taken == [3, 2, 2]
    for _ in range(2):
        list(counts.turn())
    assert [counts.take(fact) for _ in range(5)].count(True) == 3


def test_kinds_and_identities_are_bounded() -> None:
    counts = FactCounts(lambda fact: fact)
    for number in range(2 * MAX_KINDS):
        assert not counts.take(AuditFact(f"a.S/M{number}", SHOP))
    found = list(counts.turn())
    assert len(found) == MAX_KINDS + 1
    assert found[-1] == (AuditFact(OTHER, SHOP), MAX_KINDS)
    for number in range(MAX_IDENTITIES + 100):
        counts.take(AuditFact("a.S/M", Who(f"jwt:corp:{number}")))
    found = list(counts.turn())
    assert len(found) == MAX_IDENTITIES + 1
    assert found[-1] == (AuditFact("a.S/M", Who(OTHER)), 100)
    assert not list(counts.turn())
