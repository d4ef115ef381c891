"""Options of methods in Python: each has its place in a policy, and a wrong one is refused where the program gives it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest

from tests.support.policies import FULL, task_policy
from weft.agent import Lock, MethodOptions, RetryPolicy, RunLimit
from weft.rpc.errors import InvalidArgument
from weft.rpc.task_policy.method_options import option_name, to_policy
from weft.v1 import options_pb2

# The same as FULL.
FULL_IN_PYTHON: MethodOptions = {
    "retry": RetryPolicy(
        max_attempts=3,
        initial_backoff_s=0.5,
        retryable_codes=[grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL],
    ),
    "schedule_to_start_s": 60,
    "start_to_close_s": 30,
    "schedule_to_close_s": 300.0,
    "priority": 7,
    "slot_cost": 2,
    "result_ttl_s": 60,
    "failure_ttl_s": 120,
    "require_labels": {"zone": "eu"},
    "require_resources": {"gpu": 1},
    "mode": "direct",
    "idempotency_key": "order.number",
    "fairness_key": "tenant_id",
    "run_limits": [
        RunLimit(max_running=10),
        RunLimit("order.customer.id", max_running=1, at_limit="cancel_oldest"),
        RunLimit('metadata["x-tenant"]', max_rate_per_s=2.5, burst=4),
        RunLimit("fairness_key", max_running=2),
    ],
    "locks": ["db-migrate", Lock("customer", key="order.customer.id", shared=True)],
    "consumes": {"gpu": 1, "memory_bytes": 4e9},
    "budget": {"tokens": 10_000, "active_s": 60},
    "cache_s": 10,
    "fallback": str(FULL["fallback"]),
    "no_wait": True,
    "check_rules": False,
    "durable_children": True,
    "on_event": "event.tenant_id != ''",
    "idempotent": True,
}


def test_each_option_of_a_proto_is_there_in_python():
    assert to_policy(FULL_IN_PYTHON) == task_policy(FULL)
    assert set(FULL_IN_PYTHON) == set(MethodOptions.__annotations__)
    assert to_policy({}) == options_pb2.TaskPolicy()


@pytest.mark.parametrize("action", [None, "queue", "refuse", "cancel_newest", "cancel_oldest"])
def test_what_happens_at_a_limit(action):
    limit = RunLimit(max_running=1, at_limit=action)
    made = limit.to_proto()
    assert RunLimit.of(made) == limit
    name = options_pb2.AtLimit.Name(made.at_limit).removeprefix("AT_LIMIT_").lower()
    assert name == (action or "unspecified")


# Wrong values of each option.
WRONG: dict[str, list[Any]] = {
    "retry": [3, {"max_attempts": 3}, RetryPolicy(retryable_codes=["UNAVAILABLE"])],  # type: ignore[list-item]
    "schedule_to_start_s": ["30", timedelta(1), float("nan")],
    "start_to_close_s": ["30", timedelta(1), float("inf")],
    "schedule_to_close_s": [None],
    "priority": ["high", -1, 1.5, None],
    "slot_cost": ["2", -1],
    "result_ttl_s": ["1h"],
    "failure_ttl_s": [[]],
    "require_labels": [{"zone": 1}, ["zone"], "zone=eu"],
    "require_resources": [{"gpu": "1"}, ["gpu"]],
    "mode": ["fast", "DIRECT", 1],
    "idempotency_key": [1, None],
    "fairness_key": [["tenant_id"]],
    "run_limits": [RunLimit(max_running=1), [3], {"max_running": 1}],
    "locks": ["db-migrate", [3], Lock("a")],
    "consumes": [{"gpu": "1"}, ["gpu"], 1],
    "budget": [{"tokens": "1"}, ["tokens"], 1],
    "cache_s": ["10s"],
    "fallback": [3],
    "no_wait": ["yes"],
    "check_rules": ["no"],
    "durable_children": ["yes"],
    "on_event": [3],
    "idempotent": ["yes"],
}


def test_the_table_of_wrong_values_has_every_option():
    assert set(WRONG) == set(MethodOptions.__annotations__)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_value_of_the_wrong_type_is_refused_by_the_options_name(name, value):
    with pytest.raises(InvalidArgument) as raised:
        to_policy({name: value})  # type: ignore[misc]
    assert raised.value.field == name
    assert raised.value.message.startswith(f"{name} is {value!r:.100}: it must be ")


@pytest.mark.parametrize(("name", "hint"), [("retries", "did you mean retry?"), ("zzz", "there are retry, ")])
def test_an_unknown_option_is_refused(name, hint):
    with pytest.raises(InvalidArgument, match=f"there is no option '{name}'; ") as raised:
        to_policy({name: 1})  # type: ignore[misc]
    assert hint in raised.value.message


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"max_running": 0}, "max_running"),
        ({"max_running": -1}, "max_running"),
        ({"max_running": 1.5}, "max_running"),
        ({"max_running": 2**32}, "max_running"),
        ({"max_rate_per_s": 0}, "max_rate_per_s"),
        ({"max_rate_per_s": float("nan")}, "max_rate_per_s"),
        ({"max_rate_per_s": "10"}, "max_rate_per_s"),
        ({"max_rate_per_s": 1, "burst": 0}, "burst"),
        ({"max_running": 1, "at_limit": "drop"}, "at_limit"),
    ],
)
def test_a_limit_of_nothing_is_refused(given, field):
    with pytest.raises(InvalidArgument, match=f"^{field} is ") as raised:
        RunLimit(**given)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("place", "option"),
    [
        ("cache.ttl", "cache_s"),
        ("limits.start_to_close", "start_to_close_s"),
        ("requirements.labels", "require_labels"),
        ("run_limits.key", "run_limits.key"),
    ],
)
def test_a_place_in_a_policy_has_the_options_name(place, option):
    assert option_name(place) == option
