"""The arbiter's rules: never more than there is, the first window that fits, who is in the way, who must go."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.services.arbiter import book_rules as rules
from weft.services.arbiter.book_rules import Capacity, Claim

ANY: rules.Selector = frozenset()
EU: rules.Selector = frozenset({("zone", "eu")})
BIG: rules.Selector = frozenset({("size", "big")})
# Agents by what they match; selectors overlap.
AGENTS = [({}, 2.0), ({"zone": "eu"}, 2.0), ({"size": "big"}, 1.0), ({"zone": "eu", "size": "big"}, 2.0)]


def claim(
    name: str, amount: float, start_s: float, end_s: float, selector: rules.Selector = ANY, priority: int = 5
) -> Claim:
    return Claim(name, amount, selector, start_s, end_s, priority)


def can_be_served(claims: Sequence[Claim], at_s: float) -> bool:
    """Whether agents can really serve the claims of a moment: unit by unit, by augmenting paths, which knows nothing of the rules."""
    units = [frozenset(labels.items()) for labels, amount in AGENTS for _ in range(int(amount))]
    served: dict[int, int] = {}
    wants = [each.selector for each in claims if each.holds_at(at_s) for _ in range(int(each.amount))]

    def serve(want: int, seen: set[int]) -> bool:
        for at, labels in enumerate(units):
            if at in seen or not wants[want] <= labels:
                continue
            seen.add(at)
            if at not in served or serve(served[at], seen):
                served[at] = want
                return True
        return False

    return all(serve(want, set()) for want in range(len(wants)))


claims_given = st.lists(
    st.builds(
        lambda amount, start_s, lasts_s, selector, priority: claim(
            "", amount, start_s, start_s + lasts_s, selector, priority
        ),
        st.integers(1, 4),
        st.integers(0, 10),
        st.integers(1, 6),
        st.sampled_from([ANY, EU, BIG, EU | BIG]),
        st.integers(0, 9),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(claims_given)
def test_a_book_never_holds_more_than_there_is_and_refuses_only_what_is_more(asked: list[Claim]) -> None:
    capacity, book = Capacity(AGENTS), list[Claim]()
    for number, each in enumerate(asked):
        wanted = Claim(str(number), each.amount, each.selector, each.start_s, each.end_s, each.priority)
        possible = all(
            can_be_served([*book, wanted], at_s) for at_s in range(int(wanted.start_s), int(wanted.end_s))
        )
        short = rules.first_shortage(book, wanted, capacity)
        assert (short is None) == possible
        first_s = rules.first_fit(book, wanted, capacity)
        if short is None:
            assert first_s == wanted.start_s
            book.append(wanted)
        elif first_s is not None:
            # It is a time that fits, and no earlier one does.
            lasts_s = wanted.end_s - wanted.start_s
            fits = [
                rules.first_shortage(
                    book, claim("", wanted.amount, s, s + lasts_s, wanted.selector), capacity
                )
                is None
                for s in range(int(wanted.start_s), int(first_s) + 1)
            ]
            assert fits == [False] * (len(fits) - 1) + [True]
            assert rules.in_the_way(book, short)
    assert not rules.at_risk(book, capacity)


@settings(max_examples=40, deadline=None)
@given(claims_given)
def test_displacing_makes_room_and_takes_no_more_than_needed(asked: list[Claim]) -> None:
    capacity, book = Capacity(AGENTS), list[Claim]()
    for number, each in enumerate(asked):
        wanted = Claim(str(number), each.amount, each.selector, each.start_s, each.end_s, each.priority)
        gone = rules.displaced(book, wanted, capacity, now_s=2.0)
        if gone is None:
            continue
        assert all(one.priority < wanted.priority and one.start_s > 2.0 for one in gone)
        left = [one for one in book if one not in gone]
        assert rules.first_shortage(left, wanted, capacity) is None
        for one in gone:
            assert rules.first_shortage([*left, one], wanted, capacity) is not None
        book = [*left, wanted]
    assert not rules.at_risk(book, capacity)


def test_windows_touch_without_a_conflict() -> None:
    capacity = Capacity([({}, 1.0)])
    book = [claim("a", 1, 10, 20)]
    assert rules.first_shortage(book, claim("b", 1, 20, 30), capacity) is None
    assert rules.first_shortage(book, claim("b", 1, 0, 10), capacity) is None
    short = rules.first_shortage(book, claim("b", 1, 5, 12), capacity)
    assert short is not None
    assert (short.at_s, short.wanted, short.there) == (10, 2, 1)


def test_the_first_fit_skips_gaps_that_are_too_short() -> None:
    capacity = Capacity([({}, 2.0)])
    book = [claim("a", 2, 0, 10), claim("b", 1, 12, 20), claim("c", 2, 25, 30)]
    assert rules.first_fit(book, claim("x", 2, 0, 2), capacity) == 10
    assert rules.first_fit(book, claim("x", 2, 0, 3), capacity) == 20
    assert rules.first_fit(book, claim("x", 1, 0, 15), capacity) == 10
    assert rules.first_fit(book, claim("x", 1, 0, 16), capacity) == 30
    assert rules.first_fit(book, claim("x", 3, 0, 1), capacity) is None


def test_sums_of_broken_numbers_fit() -> None:
    capacity = Capacity([({}, 0.3)])
    book = [claim("a", 0.1, 0, 1), claim("b", 0.1, 0, 1)]
    assert rules.first_shortage(book, claim("c", 0.1, 0, 1), capacity) is None
    assert rules.first_shortage([*book, claim("c", 0.1, 0, 1)], claim("d", 0.001, 0, 1), capacity) is not None


def test_when_agents_leave_the_newest_of_the_lowest_priority_is_at_risk() -> None:
    book = [
        claim("old", 1, 0, 9, priority=1),
        claim("new", 1, 0, 9, priority=1),
        claim("high", 1, 0, 9, priority=9),
    ]
    assert rules.at_risk(book, Capacity([({}, 2.0)])) == {"new"}
    assert rules.at_risk(book, Capacity([({}, 1.0)])) == {"new", "old"}
    assert rules.at_risk(book, Capacity([])) == {"new", "old", "high"}


def test_too_many_selectors_at_one_time_are_refused() -> None:
    capacity = Capacity([({str(n): "x" for n in range(9)}, 100.0)])
    book = [claim(str(n), 1, 0, 1, frozenset({(str(n), "x")})) for n in range(rules.MAX_SELECTORS)]
    with pytest.raises(rules.TooManySelectorsError):
        rules.first_shortage(book, claim("x", 1, 0, 1), capacity)
    assert rules.first_shortage(book, claim("x", 1, 1, 2), capacity) is None


def test_all_groups_of_selectors_are_tried() -> None:
    # Each pair fits, and all three do not.
    capacity = Capacity(
        [({"a": "1", "b": "1"}, 1.0), ({"b": "1", "c": "1"}, 1.0), ({"a": "1", "c": "1"}, 0.5)]
    )
    one = {name: claim(name, 1, 0, 1, frozenset({(name, "1")})) for name in "abc"}
    for pair in itertools.combinations(one.values(), 2):
        assert rules.first_shortage([pair[0]], pair[1], capacity) is None
    assert rules.first_shortage([one["a"], one["b"]], one["c"], capacity) is not None
