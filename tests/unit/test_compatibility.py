"""Which changes of a method keep both sides able to read each other, as tables of before and after."""

from __future__ import annotations

import itertools

import pytest
from google.protobuf.descriptor import MethodDescriptor

from tests.support.schema import METHOD, file
from weft.coordinator.contracts.compatibility import Incompatibility, find_incompatibility
from weft.rpc.contracts import descriptors

GROUPS = [
    ["int32", "uint32", "int64", "uint64", "bool", "enum Kind"],
    ["sint32", "sint64"],
    ["fixed32", "sfixed32"],
    ["fixed64", "sfixed64"],
    ["float"],
    ["double"],
    ["string", "bytes"],
    ["Sub"],
    ["group Sub"],
    ["map<string, int32>"],
]
ONE_CALL = ("Call Request Response",)


def method(messages, methods) -> MethodDescriptor:
    found = descriptors.find_method(
        descriptors.build_pool([file(messages=messages, methods=methods)]), METHOD
    )
    assert found is not None
    return found


def compare(old, new, old_methods=ONE_CALL, new_methods=ONE_CALL) -> Incompatibility | None:
    before, after = method(old, old_methods), method(new, new_methods)
    there, back = find_incompatibility(before, after, set()), find_incompatibility(after, before, set())
    assert (there is None) == (back is None), "it must not matter which came first"
    return there


def request(fields: str) -> dict[str, str]:
    return {"Request": fields, "Sub": "int32 n = 1"}


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group[0])
def test_types_of_one_group_read_each_other(group):
    for was, now in itertools.product(group, group):
        assert compare(request(f"{was} f = 1"), request(f"{now} f = 1")) is None, (was, now)


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.combinations(GROUPS, 2)), ids=lambda group: group[0]
)
def test_types_of_two_groups_do_not(one, other):
    for was, now in itertools.product(one, other):
        found = compare(request(f"{was} f = 7"), request(f"{now} f = 7"))
        assert found is not None, (was, now)
        assert found.method == METHOD
        assert found.field == "Request.f"
        assert "(number 7)" in found.why


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("", "int32 a = 1"),
        ("int32 a = 1; string b = 2", "string b = 2"),
        ("int32 a = 1", "int32 renamed = 1"),
        ("required int32 a = 1", "required int32 a = 1; optional int32 b = 2"),
        ("repeated int32 a = 1", "repeated bool a = 1"),
        ("map<string, int32> a = 1", "map<string, int64> a = 1"),
        ("map<int32, Sub> a = 1", "map<int64, Sub> a = 1"),
        ("Request again = 1; int32 a = 2", "Request again = 1; int32 b = 3"),
    ],
)
def test_changes_that_are_fine(was, now):
    assert compare(request(was), request(now)) is None


@pytest.mark.parametrize(
    ("was", "now", "field", "why"),
    [
        ("int32 a = 1", "repeated int32 a = 1", "Request.a", "it is repeated int32, was int32"),
        ("repeated Sub a = 1", "Sub a = 1", "Request.a", "it is t.v1.Sub, was repeated t.v1.Sub"),
        ("", "required int32 a = 1", "Request.a", "it is required, was not"),
        ("required int32 a = 1", "", "Request.a", "it was required, is not"),
        ("optional int32 a = 1", "required int32 a = 1", "Request.a", "it is required, was not"),
        ("Sub a = 1", "string a = 1", "Request.a", "it is string, was t.v1.Sub"),
        (
            "map<string, int32> a = 1",
            "repeated string a = 1",
            "Request.a",
            "it is repeated string, was a map",
        ),
        ("map<string, int32> a = 1", "map<int32, int32> a = 1", "Request.a.key", "it is int32, was string"),
        (
            "map<string, int32> a = 1",
            "map<string, Sub> a = 1",
            "Request.a.value",
            "it is t.v1.Sub, was int32",
        ),
        ("group Sub a = 1", "Sub a = 1", "Request.a", "it is t.v1.Sub, was group t.v1.Sub"),
        ("int32 a = 1; int32 b = 2", "int32 b = 1; string a = 2", "Request.b", "it is string, was int32"),
    ],
)
def test_changes_that_are_not(was, now, field, why):
    found = compare(request(was), request(now))
    assert found is not None
    assert (found.field, found.why.partition(" (number")[0]) == (field, why)
    assert str(found).startswith(f"{METHOD}, field {field} is incompatible with the contract in force: ")


def test_a_field_deep_inside_is_named_by_its_path():
    def schema(depth_type: str) -> dict[str, str]:
        return {
            "Request": "Options options = 1",
            "Options": "Limits limits = 3",
            "Limits": f"{depth_type} depth = 2",
        }

    found = compare(schema("int32"), schema("string"))
    assert found is not None
    assert found.field == "Request.options.limits.depth"


def test_responses_count_too():
    found = compare({"Response": "int32 a = 1"}, {"Response": "double a = 1"})
    assert found is not None
    assert found.field == "Response.a"


def test_cycles_end():
    def schema(leaf: str) -> dict[str, str]:
        return {
            "Request": "Left left = 1",
            "Left": "Right right = 1; Left left = 2",
            "Right": f"Left left = 1; {leaf} n = 9",
        }

    assert compare(schema("int32"), schema("int64")) is None
    found = compare(schema("int32"), schema("string"))
    assert found is not None
    assert found.field == "Request.left.right.n"


def test_a_very_long_chain_of_messages_is_no_recursion():
    def schema(leaf: str) -> dict[str, str]:
        chain = {f"M{i}": f"M{i + 1} m = 1" for i in range(3000)}
        return {"Request": "M0 m = 1", **chain, "M3000": f"{leaf} n = 1"}

    found = compare(schema("int32"), schema("string"))
    assert found is not None
    assert found.field.endswith(".m.n")


def test_messages_are_compared_by_shape_not_by_name():
    assert (
        compare(
            {"Request": "Old sub = 1", "Old": "int32 n = 1"}, {"Request": "New sub = 1", "New": "int32 n = 1"}
        )
        is None
    )
    # Each pair of types is looked at, not each type once.
    found = compare(
        {"Request": "A one = 1; A two = 2", "A": "int32 n = 1"},
        {"Request": "A one = 1; B two = 2", "A": "int32 n = 1", "B": "string n = 1"},
    )
    assert found is not None
    assert found.field == "Request.two.n"


SHAPES = [
    "Request Response",
    "Request stream Response",
    "stream Request Response",
    "stream Request stream Response",
]


@pytest.mark.parametrize(("was", "now"), list(itertools.permutations(SHAPES, 2)))
def test_the_streaming_shape_must_stay(was, now):
    found = compare({}, {}, (f"Call {was}",), (f"Call {now}",))
    assert found is not None
    assert found.field == ""
    assert "streaming" in found.why
    assert str(found).startswith(f"{METHOD} is incompatible")
