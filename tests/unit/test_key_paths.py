"""Keys of task policies: which expressions there are, their values, and what is refused."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.policies import policy_method
from tests.support.wire_format import delimited
from weft.coordinator.contracts.nesting import DeepRequest
from weft.rpc.errors import InvalidArgument
from weft.rpc.task_policy.key_paths import MAX_EXPRESSION, MAX_VALUE, Key, compile_key
from weft.v1 import task_pb2

INFO = policy_method()
TYPE = INFO.descriptor.input_type


def request(**fields: Any) -> Any:
    return INFO.request_class(**fields)


def key(expression: str) -> Key:
    return compile_key(expression, TYPE, "fairness_key")


ENTRIES = [
    task_pb2.Metadatum(key="x-tenant", value=b"first"),
    task_pb2.Metadatum(key="x-tenant", value=b"second"),
    task_pb2.Metadatum(key="x-id-bin", value=b"\x00\xff"),
]


@pytest.mark.parametrize(
    ("expression", "fields", "value"),
    [
        ("tenant_id", {"tenant_id": "acme"}, "acme"),
        ("tenant_id", {}, ""),
        ("count", {"count": -7}, "-7"),
        ("count", {}, "0"),
        ("flag", {"flag": True}, "true"),
        ("flag", {}, "false"),
        ("blob", {"blob": b"\x01\xff"}, "01ff"),
        ("kind", {}, "KIND_UNSPECIFIED"),
        ("ratio", {"ratio": 0.1}, "0.1"),
        ("ratio", {"ratio": -0.0}, "0.0"),
        ("order.number", {"order": {"number": 12}}, "12"),
        ("order.customer.id", {"order": {"customer": {"id": "ada"}}}, "ada"),
        ("order.customer.id", {}, ""),
        ("tenant_id", {"tenant_id": "é" * MAX_VALUE}, "é" * MAX_VALUE),
        ('metadata["x-tenant"]', {}, "first"),
        ('metadata["x-other"]', {}, ""),
        ('metadata["x-id-bin"]', {}, "00ff"),
    ],
)
def test_a_value(expression, fields, value):
    assert key(expression).value(request(**fields), ENTRIES) == value


def test_a_long_value_is_replaced_by_its_digest():
    text = "x" * (MAX_VALUE + 1)
    assert (
        key("tenant_id").value(request(tenant_id=text), ())
        == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    )


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("tenant", "Request has no field tenant. Did you mean tenant_id?"),
        ("tenantId", "Did you mean tenant_id?"),
        ("zzz", "Request has tenant_id, count, flag, blob, kind"),
        ("zzz", "ratio, orders and 1 more"),
        ("order", "Request.order is a message; a key ends in a number"),
        ("order.customer", "Request.order.customer is a message"),
        ("order.zzz", "Request.order has no field zzz. Order has customer, number"),
        ("order.number.more", "Request.order.number is no message and has no field more"),
        ("tags", "Request.tags is repeated"),
        ("attributes", "Request.attributes is a map"),
        ("attributes.key", "Request.attributes is a map"),
        ("orders.number", "Request.orders is repeated"),
        ("orders[0].number", "is not a key"),
        (" tenant_id", "is not a key"),
        ("tenant_id.", "is not a key"),
        (".tenant_id", "is not a key"),
        ("metadata", "has no field metadata"),
        ('metadata["X-Tenant"]', "is not a metadata key"),
        ('metadata[""]', "is not a metadata key"),
        ("metadata['x-tenant']", "is not a key"),
        ('metadata["weft-priority"]', "gRPC's or weft's own"),
        ('metadata["user-agent"]', "gRPC's or weft's own"),
        ("a" * (MAX_EXPRESSION + 1), "at most 256 characters"),
        ("töpfe", "is not a key"),
    ],
)
def test_what_names_no_single_value_is_refused(expression, words):
    with pytest.raises(InvalidArgument) as raised:
        key(expression)
    assert words in raised.value.message
    assert raised.value.message.startswith("fairness_key: ")
    assert raised.value.field == "fairness_key"


def test_a_message_without_fields_is_told():
    empty = policy_method(methods=("Call Empty Response",)).descriptor.input_type
    with pytest.raises(InvalidArgument, match="Empty has no fields"):
        compile_key("tenant_id", empty, "fairness_key")


@given(st.integers(101, 300), st.text(max_size=20), st.text(max_size=20), st.integers(-(2**31), 2**31 - 1))
def test_a_request_that_is_too_deep_for_the_parser_has_keys_too(depth, tenant, customer, count):
    deep = request(order={"number": 5}).SerializeToString()
    for _ in range(depth):
        deep = delimited(11, deep)
    outer = request(tenant_id=tenant, count=count, order={"number": 1}).SerializeToString()
    # A message that occurs twice is merged.
    more = request(order={"customer": {"id": customer}}).SerializeToString()
    parsed = INFO.check_request(outer + deep + more)
    assert isinstance(parsed, DeepRequest)
    values = [
        key(each).value(parsed, ()) for each in ("tenant_id", "count", "order.number", "order.customer.id")
    ]
    assert values == [tenant, str(count), "1", customer]
