"""Options of a submission, from its call, the override, the contract and the coordinator's settings, in this order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import json_format

from tests.support.policies import Options, policy_contract, task_policy
from tests.support.schema import METHOD
from weft.coordinator import codec
from weft.coordinator.contracts.contract_catalogue import Contracts
from weft.coordinator.policy.policy_use import all_locks, merged, request_id
from weft.coordinator.store.falling_back import alternative_of
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import ANY_AGENT, DEFAULT_RETRY, Requirements
from weft.coordinator.store.run_limits import LockClaim
from weft.v1 import task_pb2

DEFAULTS = codec.Defaults(
    result_ttl_s=3600.0, failure_ttl_s=7200.0, max_payload_bytes=1_000_000, max_metadata_bytes=16_000
)


def submit(
    contract: Options | None = None,
    override: Options | None = None,
    call: Options | None = None,
    *,
    request: Options | None = None,
    request_id: str = "",
    generated_id: bool = False,
) -> Submission:
    registry = Contracts()
    registry.admit(policy_contract(contract))
    if override is not None:
        registry.policies.set_overrides({METHOD: task_policy(override)})
    info = registry.method(METHOD)
    options = None if call is None else json_format.ParseDict(dict(call), task_pb2.TaskOptions())
    payload = json_format.ParseDict(dict(request or {}), info.request_class()).SerializeToString()
    return codec.submission(
        info,
        payload,
        request_id,
        options,
        registry.policies.find(METHOD),
        DEFAULTS,
        "t1",
        generated_id=generated_id,
    )


RETRIES = [{"retry": {"max_attempts": n}} for n in (2, 3, 4)]
PRIORITIES = [{"priority": n} for n in (0, 1, 2)]
TTLS = [{"result_ttl": f"{n}s"} for n in (10, 20, 30)]
FAILURE_TTLS = [{"failure_ttl": f"{n}s"} for n in (10, 20, 30)]


@pytest.mark.parametrize(
    ("layers", "read", "values", "default"),
    [
        (RETRIES, lambda given: given.retry.max_attempts, (2, 3, 4), DEFAULT_RETRY.max_attempts),
        (PRIORITIES, lambda given: given.priority, (0, 1, 2), 5),
        (TTLS, lambda given: given.result_ttl_s, (10, 20, 30), 3600),
        (FAILURE_TTLS, lambda given: given.failure_ttl_s, (10, 20, 30), 7200),
    ],
    ids=["retry", "priority", "result_ttl", "failure_ttl"],
)
@pytest.mark.parametrize("given", range(8))
def test_the_first_layer_that_says_something_holds(layers, read, values, default, given):
    """Call, override, contract, default: each combination of layers."""
    call, override, contract = (layer if given & (1 << place) else None for place, layer in enumerate(layers))
    wanted = next((value for place, value in enumerate(values) if given & (1 << place)), default)
    assert read(submit(contract, override, call)) == wanted


NO_WAIT = (None, False, True)


@pytest.mark.parametrize(
    ("contract", "override", "call"), [(a, b, c) for a in NO_WAIT for b in NO_WAIT for c in NO_WAIT]
)
def test_whether_a_task_waits_is_said_by_the_first_layer(contract, override, call):
    layers = [None if value is None else {"no_wait": value} for value in (contract, override, call)]
    said = [value for value in (call, override, contract) if value is not None]
    assert submit(*layers).no_wait is bool(said and said[0])


@pytest.mark.parametrize("name", ["schedule_to_start", "start_to_close", "schedule_to_close"])
@pytest.mark.parametrize(
    ("contract", "override", "call"),
    [(a, b, c) for a in (None, 10, 30) for b in (None, 5, 40) for c in (None, 1, 20, 50)],
)
def test_of_time_limits_the_strictest_holds(name, contract, override, call):
    layers: list[Any] = [
        None if value is None else {"limits": {name: f"{value}s"}} for value in (contract, override, call)
    ]
    found = getattr(submit(*layers), f"{name}_s")
    assert found == min((v for v in (contract, override, call) if v is not None), default=None)


def test_requirements_are_added():
    contract: Options = {
        "requirements": {"labels": {"zone": "eu", "tier": "gold"}, "resources": {"cpu": 4}},
        "consumes": {"gpu": 1},
    }
    assert submit(contract).requirements == Requirements.of(
        {"zone": "eu", "tier": "gold"}, {"cpu": 4}, {"gpu": 1}
    )
    call: Options = {"requirements": {"labels": {"zone": "us"}, "resources": {"cpu": 2, "disk": 7}}}
    assert submit(contract, call=call).requirements == Requirements.of(
        {"zone": "us", "tier": "gold"}, {"cpu": 4, "disk": 7}, {"gpu": 1}
    )
    assert submit(call=call).requirements == Requirements.of({"zone": "us"}, {"cpu": 2, "disk": 7})
    assert submit().requirements is ANY_AGENT


def test_merged_requirements_of_one_side_are_that_side():
    one = Requirements.of({"a": "b"}, {})
    assert merged(one, ANY_AGENT) is one
    assert merged(ANY_AGENT, one) is one


KEYED: Options = {
    "fairness_key": "tenant_id",
    "run_limits": [
        {"max_running": 9},
        {"key": "order.customer.id", "max_running": 1},
        {"key": 'metadata["x-plan"]', "max_running": 2},
        {"key": "fairness_key", "max_running": 3},
    ],
    "locks": [{"name": "db", "shared": True}, {"name": "order", "key": "order.number"}],
}


def test_keys_are_evaluated():
    call: Options = {"context": {"metadata": [{"key": "x-plan", "value": "Z29sZA=="}]}}
    request = {"tenant_id": "acme", "order": {"number": 7, "customer": {"id": "ada"}}}
    given = submit(KEYED, call=call, request=request)
    assert given.fairness_key == "acme"
    assert given.limit_keys == (("order.customer.id", "ada"), ('metadata["x-plan"]', "gold"))
    assert given.locks == (LockClaim("db", shared=True), LockClaim("order:7"))
    assert submit(KEYED, call={"fairness_key": "own"}, request=request).fairness_key == "own"


def test_a_lock_that_is_named_twice_is_held_once():
    shared, alone = LockClaim("a", shared=True), LockClaim("a")
    assert all_locks([shared], [shared]) == (shared,)
    assert all_locks([shared], [alone]) == (alone,)
    assert all_locks([alone, LockClaim("b")], [shared]) == (alone, LockClaim("b"))


IDEMPOTENT: Options = {"idempotency_key": "tenant_id"}


def test_an_idempotency_key_makes_a_request_id():
    given = submit(IDEMPOTENT, request={"tenant_id": "order-7"})
    assert given.request_id == f"{METHOD}:order-7"
    again = submit(IDEMPOTENT, request={"tenant_id": "order-7"})
    other = submit(IDEMPOTENT, request={"tenant_id": "order-7", "count": 1})
    assert given.request_digest == again.request_digest != b""
    assert given.request_digest != other.request_digest
    # Without a value, or with an id of the caller's own, there is none.
    assert submit(IDEMPOTENT).request_id == ""
    assert submit(IDEMPOTENT, request={"tenant_id": "x"}, request_id="own").request_id == "own"


def test_an_id_that_the_library_generated_gives_way():
    given = submit(IDEMPOTENT, request={"tenant_id": "x"}, request_id="generated", generated_id=True)
    assert given.request_id == f"{METHOD}:x"
    # Its repeats have any serialization now.
    assert given.request_digest == submit(IDEMPOTENT, request={"tenant_id": "x"}).request_digest
    assert submit(IDEMPOTENT, request_id="generated", generated_id=True).request_id == "generated"


@pytest.mark.parametrize("value", ["with space", "é", "x" * 128, "a\nb"])
def test_a_value_that_is_no_request_id_becomes_a_digest(value):
    made = request_id(METHOD, value)
    assert made.startswith("sha256:")
    assert len(made) <= 128
    assert made != request_id("t.v1.Service/Other", value)
    assert made == request_id(METHOD, value)


def test_a_method_without_options_is_stored_as_ever():
    given = submit(request={"tenant_id": "acme"})
    assert (given.fairness_key, given.limit_keys, given.locks, given.request_id) == ("", (), (), "")
    assert given.retry is DEFAULT_RETRY


CACHED: Options = {"cache": {"ttl": "600s"}}


def test_equal_requests_of_a_method_with_a_cache_have_one_request_id():
    request = {"tenant_id": "a", "count": 7, "attributes": {"x": "1", "y": "2"}}
    one = submit(CACHED, request=request)
    assert one.request_id.startswith("cache:")
    assert (one.cache_ttl_s, one.result_ttl_s, one.request_id_ttl_s) == (600, 3600, 600)
    turned = {"attributes": {"y": "2", "x": "1"}, "count": 7, "tenant_id": "a"}
    assert submit(CACHED, request=turned, generated_id=True, request_id="of-the-library") == replace(
        one, payload=submit(request=turned).payload
    )
    assert submit(CACHED, request={**request, "count": 8}).request_id != one.request_id
    # An override holds for the next call, and the result is kept as long as it is used.
    longer = submit(CACHED, {"cache": {"ttl": "7200s"}}, request=request)
    assert (longer.request_id, longer.cache_ttl_s, longer.result_ttl_s) == (one.request_id, 7200, 7200)


@pytest.mark.parametrize(
    "own",
    [
        {"call": {"no_cache": True}},
        {"call": {"agent_id": "a"}},
        {"call": {"delay": "1s"}},
        {"call": {"requirements": {"labels": {"zone": "eu"}}}},
        {"request_id": "mine"},
        {"contract": {**CACHED, "idempotency_key": "tenant_id"}, "request": {"tenant_id": "a"}},
    ],
)
def test_a_call_that_wants_a_run_of_its_own_is_not_cached(own: dict[str, Any]):
    given = submit(**{"contract": CACHED, **own})
    assert given.cache_ttl_s == 0
    assert not given.request_id.startswith("cache:")


def test_alternatives_have_the_fallbacks_policies_and_the_calls_own_options():
    others: dict[str, Options] = {
        "Second": {
            "fallback": "t.v1.Service/Third",
            "retry": {"max_attempts": 9},
            "limits": {"start_to_close": "5s", "schedule_to_close": "1s"},
            "locks": [{"name": "l", "key": "tenant_id"}],
            "run_limits": [{"key": "count", "max_running": 1}],
            "requirements": {"labels": {"zone": "eu"}},
        }
    }
    registry = Contracts()
    methods = ("Call Request Response", "Second Request Response", "Third Request Response")
    first: Options = {"fallback": "t.v1.Service/Second", "retry": {"max_attempts": 2}, "priority": 7}
    registry.admit(policy_contract(first, methods=methods, others=others))
    info, policy = registry.method(METHOD), registry.policies.find(METHOD)
    assert policy is not None
    chain = registry.policies.fallbacks(policy)
    assert [name for name, _ in chain] == ["t.v1.Service/Second", "t.v1.Service/Third"]
    payload = json_format.ParseDict({"tenant_id": "a", "count": 3}, info.request_class()).SerializeToString()
    options = json_format.ParseDict(
        {"limits": {"start_to_close": "60s"}, "requirements": {"labels": {"disk": "ssd"}}},
        task_pb2.TaskOptions(),
    )
    given = codec.submission(info, payload, "", options, policy, DEFAULTS, "t1", fallbacks=chain)
    assert (given.method, given.alternative, given.fallback_of, given.priority) == (METHOD, 0, "", 7)
    assert given.schedule_to_close_s is None
    one, second, third = given.alternatives
    assert one == alternative_of(given)
    assert (one.retry.max_attempts, second.retry.max_attempts, third.retry) == (2, 9, DEFAULT_RETRY)
    assert [each.start_to_close_s for each in given.alternatives] == [60, 5, 60]
    assert second.locks == (LockClaim("l:a", False),)
    assert second.limit_keys == (("count", "3"),)
    assert second.requirements == Requirements.of({"zone": "eu", "disk": "ssd"}, {})
    assert (one.requirements, third.requirements) == (Requirements.of({"disk": "ssd"}, {}),) * 2


def test_a_chain_ends_where_a_method_is_unknown_or_has_come_with_other_types():
    registry = Contracts()
    registry.admit(policy_contract({"fallback": "u.v1.Service/Call"}))
    policy = registry.policies.find(METHOD)
    assert policy is not None
    assert registry.policies.fallbacks(policy) == []
    registry.admit(policy_contract(package="u.v1", name="u.proto"))
    assert registry.policies.fallbacks(policy) == []
