"""JSON Schemas of messages against protobuf's own JSON mapping, both ways."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from google.protobuf import descriptor_pool, json_format, wrappers_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probe.v1 import probe_pb2
from weft.rpc.contracts import json_form
from weft.rpc.contracts.descriptors import PlainFileSet, build_pool, file_descriptor_set
from weft.rpc.errors import InvalidArgument
from weft.services.hardware.v1 import hardware_pb2
from weft.services.planner.message_schemas import message_schema
from weft.services.planner.v1 import graph_pb2, planner_pb2
from weft.v1 import task_pb2

TYPES = [
    graph_pb2.Graph,
    planner_pb2.RunGraphResponse,
    hardware_pb2.WhatIfRequest,
    hardware_pb2.SuggestRequest,
    probe_pb2.ProbeRequest,
    task_pb2.TaskOptions,
    wrappers_pb2.Int64Value,
]
SOME = settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))


# Words of refusals that no pattern can foresee.
_BEYOND = (
    *("imestamp", "uration", "year", "month", "day", "hour", "minute", "second", "time data"),
    *("unconverted", "Cannot find message", "too large", "out of range"),
)


def refusal_of(value: Any, message_class: Any) -> str:
    """Why protobuf's JSON mapping does not read a value; empty: it does."""
    try:
        json_form.parse(json.dumps(value), message_class, descriptor_pool.Default())
    except InvalidArgument as error:
        return error.message
    return ""


def validator_of(message_class: Any) -> Any:
    schema = message_schema(message_class.DESCRIPTOR)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def texts(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "pattern" in schema:
        return st.from_regex(schema["pattern"].replace("$", r"\Z"), alphabet=st.characters(codec="ascii"))
    return st.text(
        st.characters(codec="utf-8"),
        min_size=schema.get("minLength", 0),
        max_size=min(schema.get("maxLength", 20), 60),
    )


def values(schema: dict[str, Any], root: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    """JSON values that keep to a schema of `message_schema`."""
    if "$ref" in schema:
        return values(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root, depth)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema:
        return st.one_of(*(values(each, root, depth) for each in schema["anyOf"]))
    kind = schema.get("type")
    if kind == "object" and "properties" in schema and "@type" not in schema["properties"]:
        return objects(schema, root, depth)
    if kind == "object" and schema.get("additionalProperties") and depth > 0:
        keys = (
            st.from_regex(
                schema["propertyNames"]["pattern"].replace("$", r"\Z"), alphabet=st.characters(codec="ascii")
            )
            if "propertyNames" in schema
            else st.text(max_size=5)
        )
        return st.dictionaries(keys, values(schema["additionalProperties"], root, depth - 1), max_size=2)
    if kind == "array":
        if "items" not in schema:
            return st.lists(st.integers(0, 9), max_size=2)
        least = schema.get("minItems", 0)
        most = max(least, min(2, schema.get("maxItems", 2)) if depth > 0 else least)
        return st.lists(values(schema["items"], root, depth - 1), min_size=least, max_size=most)
    return {
        "object": st.just({}),
        "boolean": st.booleans(),
        "integer": st.integers(schema.get("minimum"), schema.get("maximum")),
        "number": st.floats(max(-1e30, schema.get("minimum", -1e30)), min(1e30, schema.get("maximum", 1e30))),
        "string": texts(schema),
    }.get(str(kind), st.one_of(st.integers(0, 9), st.text(max_size=3), st.booleans()))


def objects(schema: dict[str, Any], root: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    required = set(schema.get("required", ()))

    @st.composite
    def one(draw: Any) -> dict[str, Any]:
        names = {
            name for name in schema["properties"] if depth > 0 and draw(st.integers(0, 2)) == 0
        } | required
        for choice in schema.get("allOf", ()):
            fields = [each["required"][0] for each in choice["oneOf"] if "required" in each]
            must = all("required" in each for each in choice["oneOf"])
            names -= set(fields)
            if must or (depth > 0 and draw(st.booleans())):
                # The last alternatives of nodes do not nest.
                names.add(draw(st.sampled_from(fields)) if depth > 0 else fields[-1])
        return {name: draw(values(schema["properties"][name], root, depth - 1)) for name in sorted(names)}

    return one()


@pytest.mark.parametrize("message_class", TYPES, ids=lambda each: each.DESCRIPTOR.name)
def test_what_keeps_to_the_schema_is_read_by_protobuf(message_class: Any) -> None:
    checker, schema = validator_of(message_class), message_schema(message_class.DESCRIPTOR)

    @SOME
    @given(values(schema, schema, 3))
    def check(value: Any) -> None:
        if checker.is_valid(value):
            # Moments and spans have bounds that no pattern tells, and any type may be unknown here.
            why = refusal_of(value, message_class)
            assert not why or any(word in why for word in _BEYOND), (value, why)

    check()


@pytest.mark.parametrize(
    ("message", "well"),
    [
        (graph_pb2.Graph(name="g", nodes=[{"name": "a", "approval": {"timeout": {"seconds": 3}}}]), True),
        (graph_pb2.Graph(name="g", nodes=[{"name": "a"}]), False),
        (graph_pb2.Graph(nodes=[{"name": "A", "approval": {}}]), False),
        (graph_pb2.Graph(), True),
        (hardware_pb2.WhatIfRequest(changes=[{"add_work": {"cpu_cores": 2}}]), True),
        (hardware_pb2.WhatIfRequest(changes=[{}]), False),
        (hardware_pb2.WhatIfRequest(thresholds={"disk_ratio": 4}), False),
        (
            task_pb2.TaskOptions(priority=3, consumes={"gpu": 1.5}, limits={"start_to_close": {"nanos": 5}}),
            True,
        ),
        (wrappers_pb2.Int64Value(value=3), True),
    ],
)
def test_what_protobuf_writes_keeps_to_the_schema_and_its_rules(message: Any, well: bool) -> None:
    value = json_format.MessageToDict(message, preserving_proto_field_name=True)
    if isinstance(message, wrappers_pb2.Int64Value):
        value = int(value)
    assert validator_of(type(message)).is_valid(value) is well


def test_rules_of_contracts_of_other_pools_are_read() -> None:
    files = PlainFileSet.FromString(file_descriptor_set([hardware_pb2.DESCRIPTOR])).file
    other = build_pool(files).FindMessageTypeByName("weft.services.hardware.v1.WhatIfRequest")
    assert message_schema(other) == message_schema(hardware_pb2.WhatIfRequest.DESCRIPTOR)
    found = message_schema(other)["$defs"]["weft.services.hardware.v1.WhatIfRequest"]["properties"]["changes"]
    assert (found["minItems"], found["maxItems"]) == (1, 16)


@pytest.mark.parametrize(
    "value",
    [
        {"nodez": []},
        {"nodes": {}},
        {"nodes": [{"name": 1, "approval": {}}]},
        {"inputs": [{"name": "a", "type": "int"}]},
        [],
    ],
)
def test_what_does_not_keep_to_it(value: Any) -> None:
    assert not validator_of(graph_pb2.Graph).is_valid(value)
