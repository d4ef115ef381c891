"""Contract and override become one policy: each field by itself, and limits only tighten."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.policies import Options, policy_contract, task_policy
from tests.support.schema import METHOD
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.policy.method_policy import strictest
from weft.rpc.errors import InvalidArgument
from weft.rpc.task_policy.policy_checks import TIME_LIMITS
from weft.rpc.task_policy.policy_layers import resolve, tightened
from weft.rpc.times import seconds
from weft.v1 import options_pb2

NONE: Options = {}


def limit(**fields: Any) -> dict[str, Any]:
    return fields


# (contract, override, both)
LAYERS: list[tuple[Options, Options, Options]] = [
    (NONE, NONE, NONE),
    ({"priority": 3}, NONE, {"priority": 3}),
    (NONE, {"priority": 3}, {"priority": 3}),
    ({"priority": 3}, {"priority": 0}, {"priority": 0}),
    ({"priority": 3}, {"slot_cost": 2}, {"priority": 3, "slot_cost": 2}),
    # Whole messages, lists and maps.
    (
        {"retry": {"max_attempts": 9, "max_crashes": 1}},
        {"retry": {"max_attempts": 2}},
        {"retry": {"max_attempts": 2}},
    ),
    ({"locks": [{"name": "a"}]}, {"locks": [{"name": "b"}]}, {"locks": [{"name": "b"}]}),
    ({"consumes": {"gpu": 1}}, {"consumes": {"disk": 1}}, {"consumes": {"disk": 1}}),
    ({"no_wait": True}, {"no_wait": False}, {"no_wait": False}),
    ({"mode": "CALL_MODE_DIRECT"}, {"mode": "CALL_MODE_DURABLE"}, {"mode": "CALL_MODE_DURABLE"}),
    # The strictest time limits.
    (
        {"limits": {"start_to_close": "30s", "schedule_to_close": "60s"}},
        {"limits": {"start_to_close": "40s", "schedule_to_close": "50s", "schedule_to_start": "5s"}},
        {"limits": {"start_to_close": "30s", "schedule_to_close": "50s", "schedule_to_start": "5s"}},
    ),
    ({"limits": {"start_to_close": "30s"}}, {"limits": {}}, {"limits": {"start_to_close": "30s"}}),
    # The strictest run limits, by key.
    (
        {"run_limits": [limit(max_running=5), limit(key="tenant_id", max_rate_per_s=10)]},
        {"run_limits": [limit(max_running=7), limit(key="count", max_running=1)]},
        {
            "run_limits": [
                limit(max_running=5),
                limit(key="tenant_id", max_rate_per_s=10),
                limit(key="count", max_running=1),
            ]
        },
    ),
    (
        {"run_limits": [limit(max_running=5)]},
        {"run_limits": [limit(max_rate_per_s=2, burst=3)]},
        {"run_limits": [limit(max_running=5, max_rate_per_s=2, burst=3)]},
    ),
    (
        {"run_limits": [limit(max_rate_per_s=2)]},
        {"run_limits": [limit(max_rate_per_s=5, burst=1)]},
        {"run_limits": [limit(max_rate_per_s=2, burst=1)]},
    ),
    (
        {"run_limits": [limit(max_running=5, at_limit="AT_LIMIT_REFUSE")]},
        {"run_limits": [limit(max_running=9)]},
        {"run_limits": [limit(max_running=5, at_limit="AT_LIMIT_REFUSE")]},
    ),
    (
        {"run_limits": [limit(max_running=5, at_limit="AT_LIMIT_REFUSE")]},
        {"run_limits": [limit(max_running=9, at_limit="AT_LIMIT_QUEUE")]},
        {"run_limits": [limit(max_running=5, at_limit="AT_LIMIT_QUEUE")]},
    ),
]


@pytest.mark.parametrize(("contract", "override", "both"), LAYERS)
def test_layers(contract, override, both):
    under, over = task_policy(contract), task_policy(override)
    kept = under.SerializeToString(), over.SerializeToString()
    resolved = resolve(under, over)
    assert resolved is not None
    assert resolved == task_policy(both)
    assert (under.SerializeToString(), over.SerializeToString()) == kept


def test_nothing_is_no_policy():
    assert resolve(None, None) is None


def test_an_override_of_every_field_comes_first_unless_it_loosens_a_limit():
    """By the descriptor, so that a new field is thought of."""
    tightening = {"limits", "run_limits"}
    for field in options_pb2.TaskPolicy.DESCRIPTOR.fields:
        if field.name in tightening:
            continue
        one, other = options_pb2.TaskPolicy(), options_pb2.TaskPolicy()
        _set(one, field.name, 1)
        _set(other, field.name, 2)
        assert one != other
        assert resolve(one, other) == other, field.name


def _set(policy: options_pb2.TaskPolicy, name: str, value: int) -> None:
    match name:
        case "retry":
            policy.retry.max_attempts = value
        case "result_ttl" | "failure_ttl":
            getattr(policy, name).seconds = value
        case "requirements":
            policy.requirements.resources["gpu"] = value
        case "consumes":
            policy.consumes["gpu"] = value
        case "budget":
            policy.budget["tokens"] = value
        case "locks":
            policy.locks.add(name=str(value))
        case "cache":
            policy.cache.ttl.seconds = value
        case "on_event":
            policy.on_event.filter = str(value)
        case "idempotency_key" | "fairness_key" | "fallback":
            setattr(policy, name, str(value))
        case "no_wait" | "check_rules" | "durable_children":
            setattr(policy, name, value == 2)
        case _:
            setattr(policy, name, value)


TIMES = st.none() | st.integers(1, 100)
RUN_LIMITS = st.lists(
    st.builds(
        options_pb2.RunLimit,
        key=st.sampled_from(["", "a", "b"]),
        max_running=st.integers(0, 5),
        max_rate_per_s=st.sampled_from([0.0, 0.5, 1.0, 20.0]),
        burst=st.integers(0, 3),
    ).map(lambda made: made if made.max_rate_per_s else _without_burst(made)),
    max_size=3,
    unique_by=lambda made: made.key,
)


def _without_burst(made: options_pb2.RunLimit) -> options_pb2.RunLimit:
    made.burst = 0
    return made


@given(
    st.dictionaries(st.sampled_from(TIME_LIMITS), TIMES), st.dictionaries(st.sampled_from(TIME_LIMITS), TIMES)
)
def test_time_limits_only_tighten(under, over):
    policies = []
    for given_limits in (under, over):
        policy = options_pb2.TaskPolicy()
        for name, value in given_limits.items():
            if value is not None:
                getattr(policy.limits, name).seconds = value
        policies.append(policy)
    resolved = resolve(*policies)
    assert resolved is not None
    for name in TIME_LIMITS:
        wanted = strictest(under.get(name), over.get(name))
        found = seconds(getattr(resolved.limits, name)) if resolved.limits.HasField(name) else None
        assert found == wanted


@given(RUN_LIMITS, RUN_LIMITS)
def test_run_limits_only_tighten(under, over):
    found = {each.key: each for each in tightened(under, over)}
    assert found.keys() == {each.key for each in (*under, *over)}
    for each in (*under, *over):
        both = found[each.key]
        if each.max_running:
            assert 0 < both.max_running <= each.max_running
        if each.max_rate_per_s:
            assert 0 < both.max_rate_per_s <= each.max_rate_per_s
            assert _burst(both) <= _burst(each)


def _burst(made: options_pb2.RunLimit) -> float:
    return made.burst or max(1, made.max_rate_per_s)


# -- the table --------------------------------------------------------------------------------------------------------


def test_overrides_hold_before_and_after_their_contract_comes():
    registry = Contracts()
    table, heard = registry.policies, []
    table.on_change(heard.append)
    table.set_overrides({METHOD: task_policy({"priority": 9})})
    assert table.find(METHOD) is None
    registry.admit(policy_contract({"priority": 2, "slot_cost": 3}))
    policy = table.find(METHOD)
    assert policy is not None
    assert (policy.priority, policy.slot_cost) == (9, 3)
    table.set_overrides({})
    policy = table.find(METHOD)
    assert policy is not None
    assert policy.priority == 2
    # A newer contract without options.
    registry.admit(policy_contract())
    assert table.find(METHOD) is None
    table.set_overrides({METHOD: task_policy({"slot_cost": 4})})
    policy = table.find(METHOD)
    assert policy is not None
    assert policy.slot_cost == 4
    registry.forget(registry.method(METHOD).contract)
    assert table.find(METHOD) is None
    assert heard == [frozenset({METHOD})] * 5


def test_an_override_that_does_not_fit_is_refused_and_an_old_one_is_ignored():
    registry = Contracts()
    table = registry.policies
    registry.admit(policy_contract({"priority": 2}))
    bad = task_policy({"fairness_key": "gone"})
    with pytest.raises(InvalidArgument, match="no field gone") as raised:
        table.check_override(METHOD, bad)
    assert raised.value.field == "fairness_key"
    table.check_override("t.v1.Service/Unknown", bad)
    table.set_overrides({METHOD: bad})
    policy = table.find(METHOD)
    assert policy is not None
    assert policy.priority == 2
    assert policy.fairness_key is None
    assert "no field gone" in table.problems[METHOD]
    table.set_overrides({METHOD: task_policy({"fairness_key": "tenant_id"})})
    assert not table.problems


def test_an_override_cannot_close_a_circle_of_fallbacks():
    registry = Contracts()
    registry.admit(
        policy_contract(
            {"fallback": "t.v1.Service/Other"}, methods=("Call Request Response", "Other Request Response")
        )
    )
    with pytest.raises(InvalidArgument, match="lead back"):
        registry.policies.check_override("t.v1.Service/Other", task_policy({"fallback": METHOD}))
