"""Task policies are read from any contract's descriptors, and what means nothing is refused by method and option."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, duration_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.policies import (
    FULL,
    MESSAGES,
    Options,
    plain_set,
    policy_contract,
    policy_file,
    policy_of,
    task_policy,
    with_options,
)
from tests.support.schema import METHOD, PACKAGE, file
from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.coordinator.policy.method_policy import LockOption, RunLimitOption
from weft.coordinator.store.rules import Requirements, TaskRetryPolicy
from weft.coordinator.store.run_limits import LimitAction, RunLimitRule
from weft.rpc.contracts import descriptors
from weft.rpc.errors import InvalidArgument
from weft.v1 import options_pb2


def test_every_option_is_read():
    assert set(FULL) == set(options_pb2.TaskPolicy.DESCRIPTOR.fields_by_name)
    policy = policy_of(FULL)
    assert policy is not None
    assert policy.method == METHOD
    assert policy.retry == TaskRetryPolicy(
        max_attempts=3, initial_backoff_s=0.5, retryable_codes=frozenset({13, 14})
    )
    assert (policy.schedule_to_start_s, policy.start_to_close_s, policy.schedule_to_close_s) == (60, 30, 300)
    assert (policy.priority, policy.slot_cost) == (7, 2)
    assert (policy.result_ttl_s, policy.failure_ttl_s) == (60, 120)
    assert policy.requirements == Requirements.of({"zone": "eu"}, {"gpu": 1}, {"gpu": 1, "memory_bytes": 4e9})
    assert policy.direct
    assert policy.no_wait
    assert not policy.check_rules
    assert policy.durable_children
    assert policy.on_event == "event.tenant_id != ''"
    assert policy.idempotency_key is not None
    assert policy.idempotency_key.expression == "order.number"
    assert policy.fairness_key is not None
    assert policy.fairness_key.expression == "tenant_id"
    customer = policy.run_limits[1].key
    tenant = policy.run_limits[2].key
    assert policy.run_limits == (
        RunLimitOption("", None, RunLimitRule(10)),
        RunLimitOption("order.customer.id", customer, RunLimitRule(1, at_limit=LimitAction.CANCEL_OLDEST)),
        RunLimitOption('metadata["x-tenant"]', tenant, RunLimitRule(rate_per_s=2.5, burst=4)),
        RunLimitOption("fairness_key", None, RunLimitRule(2)),
    )
    assert policy.locks == (LockOption("db-migrate", None, False), LockOption("customer", customer, True))
    assert policy.cache_ttl_s == 10
    assert policy.fallback == f"{PACKAGE}.Service/Other"


def test_a_stream_of_responses_has_no_cache():
    streaming = {"methods": ("Call Request stream Response", "Other Request Response")}
    with pytest.raises(InvalidArgument, match=rf"{METHOD}: .*cache is for methods with one response"):
        policy_of({"cache": {"ttl": "10s"}}, **streaming)
    # What a service says for all is not for it.
    contract = policy_contract(service={"cache": {"ttl": "10s"}, "priority": 7}, **streaming)
    call, other = (contract.methods[f"{PACKAGE}.Service/{name}"].policy for name in ("Call", "Other"))
    assert call is not None
    assert other is not None
    assert (call.cache_ttl_s, call.priority, other.cache_ttl_s, other.priority) == (0, 7, 10, 7)


def test_a_contract_without_options_has_no_policy():
    assert policy_of() is None
    registry = Contracts()
    registry.admit(policy_contract())
    assert registry.policies.find(METHOD) is None


def _with_weft_files(options: Options) -> bytes:
    """The same contract, compiled as `protoc` does it: it imports weft/v1/options.proto, which is in the set."""
    own = file("t.proto", MESSAGES, imports=["weft/v1/options.proto"])
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(each.DESCRIPTOR.serialized_pb)
        for each in (descriptor_pb2, duration_pb2, options_pb2)
    ]
    return plain_set(*files, with_options(own, {"Call": options}))


def test_the_options_are_the_same_with_and_without_wefts_own_file():
    with_files = Contract.load(_with_weft_files(FULL), [METHOD]).methods[METHOD]
    assert with_files.policy is not None
    bare = policy_of(FULL)
    assert bare is not None
    assert with_files.policy.options == bare.options


def test_a_services_options_hold_for_its_methods_and_a_methods_own_come_first():
    service: Options = {
        "priority": 3,
        "retry": {"max_attempts": 9},
        "limits": {"start_to_close": "5s"},
        "consumes": {"gpu": 1},
    }
    made = policy_contract(
        {"priority": 8, "limits": {"schedule_to_close": "60s"}},
        service=service,
        methods=("Call Request Response", "Other Request Response", "Chat stream Request stream Response"),
    )
    own, other, chat = (
        made.methods[f"{PACKAGE}.Service/{name}"].policy for name in ("Call", "Other", "Chat")
    )
    assert own is not None
    assert other is not None
    assert (own.priority, other.priority) == (8, 3)
    # A message, list or map that the method sets is used as a whole.
    assert (own.start_to_close_s, own.schedule_to_close_s) == (None, 60)
    assert other.start_to_close_s == 5
    assert own.retry == other.retry
    # A service's options for tasks mean nothing for a method that cannot be one.
    assert chat is None


def _bad(**options: Any) -> Options:
    return options


# Bad options, each with words that its refusal must have. Every option with a value that can be bad is among them.
BAD: dict[str, list[tuple[Options | bytes, str]]] = {
    "retry": [
        (_bad(retry={"max_attempts": 1001}), "retry.max_attempts is 1001; the most is 1000"),
        (_bad(retry={"max_crashes": 1001}), "retry.max_crashes is 1001"),
        (_bad(retry={"backoff_multiplier": 0.5}), "retry.backoff_multiplier is 0.5"),
        (_bad(retry={"backoff_multiplier": "NaN"}), "retry.backoff_multiplier is nan"),
        (_bad(retry={"retryable_codes": [17]}), "retry.retryable_codes"),
        (_bad(retry={"retryable_codes": [0]}), "retry.retryable_codes"),
        (_bad(retry={"initial_backoff": "-1s"}), "retry.initial_backoff is -1 s"),
        (_bad(retry={"max_backoff": "86401s"}), "retry.max_backoff is 86401 s"),
    ],
    "limits": [
        (_bad(limits={name: value}), f"limits.{name} is ")
        for name in ("schedule_to_start", "start_to_close", "schedule_to_close")
        for value in ("0s", "-1s", "31708800s")
    ],
    "priority": [(_bad(priority=10), "priority is 10; it must be 0 to 9")],
    "slot_cost": [(_bad(slot_cost=100_001), "slot_cost is 100001; the most is 100000")],
    "result_ttl": [(_bad(result_ttl="0.5s"), "result_ttl is 0.5 s")],
    "failure_ttl": [(_bad(failure_ttl="0s"), "failure_ttl is 0 s")],
    "requirements": [
        (_bad(requirements={"labels": {"": "x"}}), "needs a key of 1 to"),
        (_bad(requirements={"resources": {"gpu": -1}}), "resource 'gpu'"),
        (_bad(requirements={"resources": {"gpu": "NaN"}}), "resource 'gpu'"),
        (_bad(requirements={"labels": {str(i): "x" for i in range(65)}}), "more than 64 entries"),
    ],
    "mode": [(b"\x40\x07", "mode is 7, which this coordinator does not know")],
    "idempotency_key": [(_bad(idempotency_key="order_id"), "Request has no field order_id")],
    "fairness_key": [
        (_bad(fairness_key="tags"), "Request.tags is repeated"),
        (_bad(fairness_key="attributes.a"), "Request.attributes is a map"),
        (_bad(fairness_key="order"), "Request.order is a message"),
        (_bad(fairness_key='metadata["weft-mode"]'), "weft's own"),
    ],
    "run_limits": [
        (_bad(run_limits=[{}]), "run_limits limits nothing"),
        (_bad(run_limits=[{"key": "tenant_id"}]), "run_limits ('tenant_id') limits nothing"),
        (_bad(run_limits=[{"max_rate_per_s": "NaN"}]), "max_rate_per_s nan"),
        (_bad(run_limits=[{"max_rate_per_s": -1}]), "max_rate_per_s -1"),
        (_bad(run_limits=[{"max_rate_per_s": "Infinity"}]), "max_rate_per_s inf"),
        (_bad(run_limits=[{"max_running": 1, "burst": 3}]), "has a burst, but no max_rate_per_s"),
        (_bad(run_limits=[{"max_running": 1}, {"max_rate_per_s": 1}]), "two limits with the key ''"),
        (_bad(run_limits=[{"key": "zzz", "max_running": 1}]), "run_limits.key: 'zzz'"),
        (_bad(run_limits=[{"max_rate_per_s": 1, "at_limit": "AT_LIMIT_REFUSE"}]), "it needs max_running"),
        (b"\x5a\x04\x10\x01\x28\x09", "run_limits.at_limit is 9"),
        (
            _bad(run_limits=[{"key": f'metadata["k{i}"]', "max_running": 1} for i in range(9)]),
            "has 9 limits; the most are 8",
        ),
    ],
    "locks": [
        (_bad(locks=[{"name": ""}]), "locks has a name of 0 characters"),
        (_bad(locks=[{"name": "x" * 10_240}]), "locks has a name of 10240 characters"),
        (_bad(locks=[{"name": "a", "key": "zzz"}]), "locks.key: 'zzz'"),
        (_bad(locks=[{"name": "a"}, {"name": "a", "shared": True}]), "two locks with the name and key 'a'"),
        (_bad(locks=[{"name": f"l{i}"} for i in range(9)]), "has 9 locks; the most are 8"),
    ],
    "consumes": [
        (_bad(consumes={"gpu": 0}), "consumes has the amount 0 of 'gpu'"),
        (_bad(consumes={"gpu": -1}), "resource 'gpu'"),
        (_bad(consumes={"": 1}), "resource ''"),
        (_bad(consumes={str(i): 1 for i in range(65)}), "more than 64 entries"),
    ],
    "cache": [
        (_bad(cache={}), "cache has no ttl"),
        (_bad(cache={"ttl": "0.1s"}), "cache.ttl is 0.1 s"),
    ],
    "fallback": [
        (_bad(fallback="Other"), "fallback is 'Other'; write a full name"),
        (_bad(fallback="/t.v1.Service/Other"), "write a full name"),
        (_bad(fallback=METHOD), "fallback is the method itself"),
        (_bad(fallback="t.v1.Service/Else"), "t.v1.Service/Else has another request: t.v1.Order"),
        (_bad(fallback="t.v1.Service/Wrong"), "t.v1.Service/Wrong has another response: t.v1.Request"),
        (_bad(fallback="t.v1.Service/Watch"), "t.v1.Service/Watch streams otherwise"),
        (
            _bad(fallback="t.v1.Service/Back"),
            "lead back to the method: t.v1.Service/Call -> t.v1.Service/Back",
        ),
    ],
    "budget": [
        (_bad(budget={"tokens": 0}), "budget has the amount 0 of 'tokens'"),
        (_bad(budget={"tokens": -1}), "budget has the amount -1 of 'tokens'"),
        (_bad(budget={"": 1}), "budget has '': a unit is one of attempts"),
        (_bad(budget={"a b": 1}), "budget has 'a b'"),
        (_bad(budget={str(i): 1 for i in range(17)}), "budget has more than 16 units"),
    ],
    # Both values mean something.
    "no_wait": [],
    "check_rules": [],
    "durable_children": [],
    "on_event": [
        (_bad(on_event={"filter": "x" * 1025}), "on_event has a filter of more than 1024 characters")
    ],
}
METHODS = (
    "Call Request Response",
    "Else Order Response",
    "Wrong Request Request",
    "Watch Request stream Response",
    "Back Request Response",
)
CASES = [(name, options, words) for name, cases in BAD.items() for options, words in cases]


def test_the_table_has_every_option():
    assert set(BAD) == set(options_pb2.TaskPolicy.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize(("name", "options", "words"), CASES)
@pytest.mark.parametrize("at", ["method", "service"])
def test_an_option_that_means_nothing_is_refused_by_its_name(name, options, words, at):
    back: Options = {"fallback": METHOD}
    where = {"options": options} if at == "method" else {"service": options}
    # At the service, `Back` leads to its own option.
    others = {"Back": back} if name == "fallback" else {}
    made = policy_file(methods=METHODS, others=others, **where)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument) as raised:
        Contract.load(made, [METHOD])
    assert raised.value.reason_name == "CONTRACT_INVALID"
    option = "weft.v1.task" if at == "method" else "weft.v1.tasks"
    assert raised.value.message.startswith(f"{METHOD}: option ({option}): ")
    assert words in raised.value.message
    assert len(raised.value.message) < 1000
    assert raised.value.field is not None
    assert raised.value.field.startswith(f"({option}).{name}")


@pytest.mark.parametrize("options", [b"\xff\xff\xff\xff", b"\x0a\x7f", b"\x4a\x02\xff\xfe"])
@pytest.mark.parametrize("at", ["method", "service"])
def test_bytes_that_are_no_policy_are_refused_by_name(options, at):
    where = {"options": options} if at == "method" else {"service": options}
    with pytest.raises(InvalidArgument, match=r"is not a weft\.v1\.TaskPolicy") as raised:
        policy_contract(**where)
    assert raised.value.reason_name == "CONTRACT_INVALID"
    assert METHOD in raised.value.message


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_policy_or_a_refusal_by_name(data):
    """An agent may send anything: here a good policy with a few bytes changed."""
    good = bytearray(task_policy({**FULL, "fallback": ""}).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    refused: InvalidArgument | None = None
    try:
        policy_of(bytes(good))
    except InvalidArgument as error:
        refused = error
    assert refused is None or refused.reason_name == "CONTRACT_INVALID"
    assert refused is None or refused.message.startswith(METHOD)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (_bad(retry={"max_attempts": 2}), "retry is for tasks"),
        (_bad(fairness_key="tenant_id"), "fairness_key is for tasks"),
        (_bad(mode="CALL_MODE_DURABLE"), "mode is durable"),
    ],
)
def test_a_method_with_a_stream_of_requests_has_options_of_direct_calls_only(options, words):
    with pytest.raises(InvalidArgument, match=words):
        policy_contract(options, methods=("Call stream Request Response",))
    policy = policy_of(
        {"mode": "CALL_MODE_DIRECT", "slot_cost": 2}, methods=("Call stream Request Response",)
    )
    assert policy is not None
    assert policy.direct


def test_another_option_with_the_same_number_is_not_wefts():
    """The numbers from 50,000 to 99,999 are for everybody: a company may use ours for its own."""
    theirs = file("t.proto", MESSAGES, imports=["google/protobuf/descriptor.proto"])
    theirs.extension.add(
        name="owner",
        number=options_pb2.task.number,
        type=descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
        label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
        extendee=".google.protobuf.MethodOptions",
    )
    made = with_options(theirs, {"Call": b"team-billing"})
    own = descriptor_pb2.FileDescriptorProto.FromString(descriptor_pb2.DESCRIPTOR.serialized_pb)
    contract = Contract.load(plain_set(own, made), [METHOD])
    assert contract.methods[METHOD].policy is None
    # It goes on, unchanged.
    assert b"team-billing" in descriptors.file_descriptor_set(
        [contract.methods[METHOD].descriptor.containing_service.file]
    )


def test_options_of_a_newer_weft_are_ignored(capsys):
    policy = policy_of(b"\x20\x02" + b"\xa2\x06\x03abc")
    assert policy is not None
    assert policy.slot_cost == 2


def test_a_fallback_may_be_hosted_by_others_and_is_checked_when_both_are_in_force():
    registry = Contracts()
    registry.admit(policy_contract({"fallback": "u.v1.Service/Call"}))
    other = policy_contract({"fallback": METHOD}, package="u.v1", name="u.proto")
    # Its own request has another name, and so it cannot be the fallback's fallback.
    with pytest.raises(InvalidArgument, match=r"t\.v1\.Service/Call has another request") as raised:
        registry.admit(other)
    assert raised.value.reason_name == "CONTRACT_INVALID"
    assert registry.find("u.v1.Service/Call") is None
