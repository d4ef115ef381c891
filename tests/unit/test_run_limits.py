"""Run limits and locks: which gates a task passes, and how a gate counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weft.coordinator.store.run_limits import (
    MAX_PARKED,
    GateKey,
    RunLimitRule,
    limit_gates,
    lock_has_room,
    next_token_at,
    room,
    tokens_at,
)

METHOD = "acme.v1.Billing/Charge"


def test_the_gates_of_a_task_are_those_of_todays_rules() -> None:
    whole, fair, keyed = RunLimitRule(1), RunLimitRule(2), RunLimitRule(3)
    rules = {"": whole, "fairness_key": fair, "tenant_id": keyed}
    keys = (("tenant_id", "t"), ("gone", "x"), ("fairness_key", "not a key of its own"))
    assert dict(limit_gates(rules, METHOD, "f", keys)) == {
        GateKey(METHOD): whole,
        GateKey(METHOD, "fairness_key", "f"): fair,
        GateKey(METHOD, "tenant_id", "t"): keyed,
    }
    assert not list(limit_gates({}, METHOD, "f", keys))


def test_gates_have_names_for_people() -> None:
    assert str(GateKey.of_lock("db-migrate")) == "lock db-migrate"
    assert str(GateKey(METHOD)) == f"run limit of {METHOD}"
    assert str(GateKey(METHOD, "tenant_id", "acme")) == f"run limit of {METHOD} by tenant_id: acme"


@given(
    rate=st.floats(0.01, 10_000.0),
    burst=st.integers(0, 1000),
    steps=st.lists(st.floats(0.0, 30.0), max_size=40),
)
def test_a_bucket_never_gives_more_than_burst_and_rate(rate: float, burst: int, steps: list[float]) -> None:
    rule = RunLimitRule(rate_per_s=rate, burst=burst)
    tokens, at, given = rule.bucket_size, 0.0, 0
    for step in steps:
        now = at + step
        tokens, at = tokens_at(rule, tokens, at, now), now
        started = room(rule, 0, tokens)
        assert bool(started) == (tokens >= 1.0 - 1e-9)
        given += started
        tokens -= started
        assert given <= rule.bucket_size + rate * now + 1e-6
    later = next_token_at(rule, tokens, at)
    assert later >= at
    assert room(rule, 0, tokens_at(rule, tokens, at, later))


def test_room_is_bounded_and_never_negative() -> None:
    assert room(RunLimitRule(2), 5, 0.0) == 0
    assert room(RunLimitRule(2, rate_per_s=1.0), 0, 1.5) == 1
    assert room(RunLimitRule(), 5, 0.0) == MAX_PARKED
    assert tokens_at(RunLimitRule(rate_per_s=1.0), 0.5, 10.0, 5.0) == 0.5


@given(st.booleans(), st.integers(0, 3), st.booleans(), st.booleans())
def test_a_lock_is_free_shared_or_exclusive(
    shared: bool, holders: int, exclusive: bool, waits_longer: bool
) -> None:
    may = lock_has_room(shared=shared, holders=holders, exclusive=exclusive, waits_longer=waits_longer)
    assert may == (holders == 0 or (shared and not exclusive and not waits_longer))
