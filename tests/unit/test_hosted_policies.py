"""A program's options of its methods: below those of the .proto, checked at once, and written into the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import MethodOptions as ProtobufOptions

from billing.v1 import billing_pb2, billing_pb2_grpc
from tests.support.billing_agent import Billing
from tests.support.policies import task_policy
from weft.agent import Agent, HostingError, MethodOptions, RetryPolicy, RunLimit
from weft.agent.hosting.hosted_policies import contract_of
from weft.coordinator.contracts.contract_catalogue import Contract
from weft.coordinator.contracts.method_info import MethodInfo
from weft.rpc.contracts import descriptors
from weft.v1 import options_pb2

SERVICE = "billing.v1.BillingService"
FUNCTION = "acme.v1.Shouter/Shout"


def hosting(options: Mapping[str, MethodOptions] | None = None, **more: Any) -> Agent:
    agent = Agent("a")
    agent.add_servicer(
        billing_pb2_grpc.add_BillingServiceServicer_to_server, Billing(), options=options, **more
    )
    return agent


def function_agent(**options: Any) -> Agent:
    agent = Agent("a")

    @agent.method(FUNCTION, **options)
    def shout(request: dict) -> dict:  # type: ignore[type-arg]
        return request

    return agent


def contract(agent: Agent) -> Contract:
    """As a coordinator reads it."""
    return Contract.load(contract_of(agent._methods), agent.methods)


def options_of(agent: Agent, name: str) -> options_pb2.TaskPolicy | None:
    policy = contract(agent).methods[name].policy
    return None if policy is None else policy.options


def slot_costs(agent: Agent) -> dict[str, int]:
    return {name.partition("/")[2]: method.slot_cost for name, method in agent._methods.items()}


# -- layers -----------------------------------------------------------------------------------------------------


def test_a_functions_options_are_in_its_contract():
    agent = function_agent(
        retry=RetryPolicy(max_attempts=3),
        start_to_close_s=30,
        fairness_key='metadata["x-tenant"]',
        slot_cost=2,
    )
    assert options_of(agent, FUNCTION) == task_policy(
        {
            "retry": {"max_attempts": 3},
            "limits": {"start_to_close": "30s"},
            "fairness_key": 'metadata["x-tenant"]',
        }
    )
    # Each agent says by itself what a call costs it.
    assert slot_costs(agent) == {"Shout": 2}


IN_PROTO = {"priority": 3, "limits": {"start_to_close": "20s"}}


@pytest.mark.parametrize(
    ("method", "options", "in_force"),
    [
        ("Audit", {}, IN_PROTO),
        # Options of the .proto come first, the service's and the method's.
        ("Audit", {"Audit": {"priority": 9}}, IN_PROTO),
        ("Audit", {"*": {"priority": 9}}, IN_PROTO),
        ("Audit", {"Audit": {"result_ttl_s": 60}}, {**IN_PROTO, "result_ttl": "60s"}),
        ("Audit", {f"{SERVICE}/Audit": {"no_wait": False}}, {**IN_PROTO, "no_wait": False}),
        # A method's own options come before those for all.
        (
            "Audit",
            {"*": {"cache_s": 5, "no_wait": True}, "Audit": {"cache_s": 9}},
            {**IN_PROTO, "cache": {"ttl": "9s"}, "no_wait": True},
        ),
        # The strictest limit holds.
        (
            "Audit",
            {"Audit": {"start_to_close_s": 5, "schedule_to_close_s": 50}},
            {"priority": 3, "limits": {"start_to_close": "5s", "schedule_to_close": "50s"}},
        ),
        ("Audit", {"Audit": {"start_to_close_s": 50}}, IN_PROTO),
        (
            "Charge",
            {"Charge": {"retry": RetryPolicy(max_attempts=9), "idempotency_key": "tenant_id"}},
            {
                **IN_PROTO,
                "retry": {"max_attempts": 3, "initial_backoff": "0.001s", "retryable_codes": [13]},
                "idempotency_key": "order_id",
                "slot_cost": 2,
            },
        ),
        # For all methods, but this one cannot be a task.
        ("Import", {"*": {"retry": RetryPolicy(max_attempts=2), "mode": "durable"}}, None),
        ("Import", {"*": {"mode": "direct", "cache_s": 2}}, {"mode": "CALL_MODE_DIRECT"}),
    ],
)
def test_the_protos_options_come_first(method, options, in_force):
    found = options_of(hosting(options), f"{SERVICE}/{method}")
    assert found == (None if in_force is None else task_policy(in_force))


@pytest.mark.parametrize(
    ("options", "more", "charge", "audit"),
    [
        ({}, {}, 2, 1),
        ({}, {"slot_cost": 3}, 3, 3),
        ({"*": {"slot_cost": 4}, "Charge": {"slot_cost": 1}}, {"slot_cost": 3}, 2, 4),
        ({"Audit": {"slot_cost": 5}, "Charge": {"slot_cost": 6}}, {"slot_cost": 3}, 6, 5),
    ],
)
def test_what_a_call_costs_its_agent(options, more, charge, audit):
    found = slot_costs(hosting(options, **more))
    assert (found["Charge"], found["Audit"]) == (charge, audit)


# -- refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"Chrge": {}}, "options of 'Chrge': there is no method 'Chrge'; did you mean Charge?"),
        ({"": {}}, "there is no method ''; there are Audit, Charge, "),
        ({"Charge": {}, f"{SERVICE}/Charge": {}}, "has options twice"),
        ({"Charge": {"retries": 3}}, f"{SERVICE}/Charge: there is no option 'retries'; did you mean retry?"),
        ({"*": {"retries": 3}}, "there is no option 'retries'"),
        ({"Charge": {"priority": 10}}, f"{SERVICE}/Charge: priority is 10; it must be 0 to 9"),
        # Also where the .proto's value would come first.
        ({"Audit": {"priority": 10}}, "priority is 10"),
        ({"Charge": {"cache_s": 0.1}}, "cache_s is 0.1 s"),
        ({"Charge": {"start_to_close_s": 0}}, "start_to_close_s is 0 s"),
        (
            {"Charge": {"fairness_key": "tenant"}},
            "ChargeRequest has no field tenant. Did you mean tenant_id?",
        ),
        ({"Charge": {"run_limits": [RunLimit("order", max_running=1)]}}, "run_limits.key: 'order'"),
        ({"Charge": {"run_limits": [RunLimit(max_running=1)] * 2}}, "two limits with the key ''"),
        ({"Charge": {"run_limits": [RunLimit()]}}, "run_limits limits nothing"),
        ({"Charge": {"locks": ["x" * 10_240]}}, "locks has a name of 10240 characters"),
        ({"Charge": {"fallback": f"{SERVICE}/Charge"}}, "fallback is the method itself"),
        ({"Charge": {"slot_cost": 0}}, f"{SERVICE}/Charge: slot_cost must be at least 1, not 0"),
        ({"Import": {"retry": RetryPolicy()}}, f"{SERVICE}/Import: retry is for tasks"),
        ({"Import": {"mode": "durable"}}, "mode is durable"),
    ],
)
def test_what_means_nothing_is_refused_at_once(options, words):
    with pytest.raises(HostingError) as raised:
        hosting(options)
    assert words in raised.value.message
    assert len(raised.value.message) < 1000


def test_a_functions_options_are_refused_at_once():
    with pytest.raises(HostingError, match=f"{FUNCTION}: priority is 10; it must be 0 to 9") as raised:
        function_agent(priority=10)
    assert raised.value.field == "priority"
    with pytest.raises(
        HostingError, match="there is no option 'start_to_close'; did you mean start_to_close_s"
    ):
        function_agent(start_to_close=3)
    # A Struct has no fields with names of the application's own.
    with pytest.raises(HostingError, match="fairness_key: 'tenant': Struct has no field tenant"):
        function_agent(fairness_key="tenant")


# -- the contract -----------------------------------------------------------------------------------------------


def files(agent: Agent) -> dict[str, Any]:
    return {f.name: f for f in descriptors.PlainFileSet.FromString(contract_of(agent._methods)).file}


def test_the_contract_with_options_is_another_and_readers_know_their_names():
    plain, with_options = function_agent(), function_agent(priority=7)
    assert contract(plain).digest != contract(with_options).digest
    assert contract(function_agent(priority=7)).digest == contract(with_options).digest
    assert options_pb2.DESCRIPTOR.name not in files(plain)
    assert {options_pb2.DESCRIPTOR.name, "google/protobuf/descriptor.proto"} <= files(with_options).keys()
    assert (
        options_pb2.DESCRIPTOR.name
        in files(with_options)["weft/synthesized/acme/v1/Shouter.proto"].dependency
    )


def test_without_options_in_the_program_the_contract_is_the_protos():
    assert contract_of(hosting()._methods) == descriptors.file_descriptor_set([billing_pb2.DESCRIPTOR])
    assert contract_of(hosting({"Audit": {"slot_cost": 3}})._methods) == contract_of(hosting()._methods)
    imports = files(hosting({"Audit": {"no_wait": True}}))["billing/v1/billing.proto"].dependency
    assert list(imports) == [options_pb2.DESCRIPTOR.name]


def idempotency_level(info: MethodInfo) -> int:
    return info.descriptor.GetOptions().idempotency_level


def test_idempotent_is_protobufs_own_option():
    agent = hosting({"*": {"idempotent": True}, "Charge": {"idempotent": False}})
    found = contract(agent).methods
    assert idempotency_level(found[f"{SERVICE}/Audit"]) == ProtobufOptions.IDEMPOTENT
    # The .proto's option comes first.
    assert idempotency_level(found[f"{SERVICE}/Quote"]) == ProtobufOptions.NO_SIDE_EFFECTS
    assert idempotency_level(found[f"{SERVICE}/Charge"]) == ProtobufOptions.IDEMPOTENCY_UNKNOWN
    assert descriptors.may_run_twice(contract(function_agent(idempotent=True)).methods[FUNCTION].descriptor)
