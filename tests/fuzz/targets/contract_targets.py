"""Contracts of agents, and messages that are read by them."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from buf.validate import validate_pb2
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import (
    FieldOptions,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodOptions,
)
from google.protobuf.message import DecodeError

from tests.fuzz import shapes
from tests.fuzz.target import joined, parts_of, target, text_of
from tests.support import schema
from tests.support.schema import METHOD
from weft.coordinator.contracts import canonical, wire
from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.coordinator.contracts.method_info import MethodInfo
from weft.coordinator.events.event_filter import EventFilter
from weft.coordinator.events.event_types import EventType
from weft.rpc.contracts import contract_reader, json_form
from weft.rpc.contracts.reflection import Reflection
from weft.rpc.contracts.secret_fields import SecretFields
from weft.rpc.errors import InvalidArgument
from weft.rpc.task_policy.key_paths import compile_key
from weft.v1 import event_pb2, options_pb2

_FIELDS = """string name = 1; int32 age = 2; Request friend = 3; repeated Request people = 4; map<string, Request> byname = 5;
 bytes raw = 6; double ratio = 7; repeated int64 numbers = 8; enum Kind kind = 9; .google.protobuf.Any any = 10; map<int32, string> m = 11"""
_RULES = {
    "name": 'string {min_len: 1 max_len: 10 pattern: "^[a-z]*$"}',
    "age": "int32 {gte: 0 lte: 150}",
    "people": "repeated {max_items: 3}",
    "byname": "map {keys {string {min_len: 2}}}",
    "ratio": "double {finite: true}",
    "raw": "bytes {max_len: 8}",
    "numbers": 'cel {id: "n" message: "m" expression: "this.all(n, n > 0)"}',
}
_ANY = FileDescriptorProto(
    name="google/protobuf/any.proto",
    package="google.protobuf",
    message_type=[
        {
            "name": "Any",
            "field": [
                {"name": "type_url", "number": 1, "label": 1, "type": 9},
                {"name": "value", "number": 2, "label": 1, "type": 12},
            ],
        }
    ],
    syntax="proto3",
)


@functools.cache
def serialized(*, rules: bool, policy: bool = False) -> bytes:
    """A contract with fields of all kinds."""
    file = schema.file(messages={"Request": " ".join(_FIELDS.split())}, imports=[_ANY.name])
    for field in file.message_type[0].field:
        if rules and field.name in _RULES:
            options = FieldOptions()
            text_format.Parse(_RULES[field.name], options.Extensions[validate_pb2.field])
            field.options.CopyFrom(options)
        if policy and field.name == "raw":
            field.options.Extensions[options_pb2.field].secret = True
    if policy:
        method = MethodOptions()
        text_format.Parse(
            'priority: 3 limits {start_to_close {seconds: 5}} retry {max_attempts: 3} run_limits {key: "name" max_running: 2}',
            method.Extensions[options_pb2.task],
        )
        file.service[0].method[0].options.CopyFrom(method)
    return schema.file_set(_ANY, file)


@functools.cache
def method(*, rules: bool) -> MethodInfo:
    return Contract.load(serialized(rules=rules), [METHOD]).methods[METHOD]


def _request(**fields: Any) -> bytes:
    message: Any = method(rules=True).request_class(**fields)
    found: bytes = message.SerializeToString()
    return found


@functools.cache
def requests() -> list[bytes]:
    inner = {"name": "bob", "age": 3}
    return [
        _request(name="ada", age=36, friend=inner, people=[inner, inner], byname={"bob": inner}),
        _request(raw=b"12345", ratio=1.5, numbers=[1, 2, 3], kind=0, m={1: "a", 2: "b"}),
        _request(any={"type_url": "type.googleapis.com/t.v1.Request", "value": _request(name="x")}),
        b"\x1a\x02\x1a\x00" * 3,
        # Deeper than the parser goes.
        functools.reduce(lambda form, _: wire.delimited(3, wire.LENGTH, form), range(120), b""),
    ]


@target(
    "weft/coordinator/contracts/contract_catalogue",
    "weft/coordinator/policy/policy_reader",
    "weft/rpc/contracts/descriptors",
    "weft/rpc/contracts/payload_rules",
    "weft/rpc/contracts/policy_options",
    "weft/rpc/contracts/raw_options",
    "weft/rpc/contracts/rule_options",
    seeds=lambda: [serialized(rules=True), serialized(rules=True, policy=True), serialized(rules=False)],
    max_bytes=64 * 1024,
    examples=20,
)
def contract(data: bytes) -> None:
    """As a coordinator's vetting process does: what ends a process there is a finding here."""
    loaded = Contract.load(data, [METHOD])
    contracts = Contracts()
    contracts.admit(loaded)
    info = loaded.methods[METHOD]
    with contextlib.suppress(InvalidArgument):
        request = info.check_request(requests()[0])
        if info.request_rules is not None:
            info.check_rules(request, 100)
        info.request_form(request)


@target(
    "weft/coordinator/contracts/method_info",
    "weft/coordinator/contracts/canonical",
    "weft/coordinator/contracts/coded_request",
    "weft/coordinator/contracts/nesting",
    "weft/coordinator/contracts/wire",
    seeds=requests,
)
def request(data: bytes) -> None:
    """A request is read, checked by rules, and has a canonical form that is stable."""
    for info in (method(rules=False), method(rules=True)):
        read = info.check_request(data)
        if info.request_rules is not None:
            with contextlib.suppress(InvalidArgument):
                info.check_rules(read, len(data))
        form = info.request_form(read)
        assert info.request_form(info.check_request(form)) == form


@target("weft/coordinator/contracts/canonical", seeds=requests)
def canonical_form(data: bytes) -> None:
    """Fields in another order, and unknown ones, have one form."""
    info = method(rules=False)
    message = info.request_class()
    try:
        message.MergeFromString(data)
    except Exception:  # what does not parse has no form
        return
    assert canonical.canonical_form(message, ordered=False) is not None


@target(
    "weft/rpc/contracts/json_form",
    "weft/rpc/bounded_json",
    "weft/rpc/contracts/json_rendering",
    seeds=lambda: [
        b'{"name": "ada", "age": 3, "friend": {"name": "bob"}, "byname": {"x": {}}, "ratio": "NaN", "raw": "AAE="}',
        b'{"any": {"@type": "type.googleapis.com/t.v1.Request", "name": "x"}, "numbers": ["1", 2], "kind": 0}',
        b'{"m": {"1": "a"}, "people": [{}, null]}',
        b"[" * 500,
    ],
)
def json_request(data: bytes) -> None:
    """What was read is the same when it is written and read again."""
    info = method(rules=False)
    found = json_form.parse(text_of(data), info.request_class, info.descriptor.containing_service.file.pool)
    shown = json_form.render(found, info.request_class, info.descriptor.containing_service.file.pool, None)
    assert shown is not None


def _event(payload: bytes) -> bytes:
    return event_pb2.Event(key="k", payload=payload, attributes={"a": "b"}).SerializeToString()


_FILTERS = (
    b"event.name == 'ada' && event.age > 3 || key == 'k'",
    b"event.friend.friend.name.startsWith('a') && attributes['a'] == 'b'",
    b"event.byname['x'].age > 1 && size(event.people) > 0 && has(event.any)",
    b"event.name.matches('^(a|b)*$') && event.kind == 0",
    b"[1, 2].all(x, x > 0)",
    b"((((((((((((true))))))))))))",
)


@target(
    "weft/coordinator/events/event_filter",
    "weft/rpc/contracts/cel_expressions",
    seeds=lambda: [joined(text, _event(each)) for text in _FILTERS for each in requests()[:2]],
    raises=(DecodeError,),
)
def event_filter(data: bytes) -> None:
    """A filter of a stranger, and an event of another."""
    text, event = parts_of(data, 2)
    kind = EventType(method(rules=False).descriptor.input_type)
    assert EventFilter(text_of(text), kind).matches(event) in {True, False}


@target("weft/coordinator/events/event_types", seeds=requests)
def published_event(data: bytes) -> None:
    EventType(method(rules=False).descriptor.input_type).check(data, "payload")


@target("weft/rpc/contracts/json_rendering", "weft/rpc/contracts/secret_fields", seeds=requests)
def shown_request(data: bytes) -> None:
    info = method(rules=False)
    pool = info.descriptor.containing_service.file.pool
    json_form.render(data, info.request_class, pool, SecretFields())


@target(
    "weft/rpc/task_policy/key_paths",
    seeds=lambda: [b"name", b"friend.friend.age", b'metadata["x-tenant"]', b"byname.x", b"kind"],
)
def key_path(data: bytes) -> None:
    info = method(rules=False)
    key = compile_key(text_of(data), info.descriptor.input_type, "key")
    key.value(info.request_class(), [])


@target(
    "weft/rpc/contracts/contract_reader",
    seeds=lambda: [serialized(rules=False), serialized(rules=True, policy=True)],
    max_bytes=64 * 1024,
)
def reflection_answer(data: bytes) -> None:
    """What another server's reflection says of a service."""
    answer = contract_reader.pb.ServerReflectionResponse()
    answer.file_descriptor_response.file_descriptor_proto.append(data)
    for file in contract_reader._by_name(answer).values():
        contract_reader._entries("t.v1.Service", [file])


@functools.cache
def _reflection() -> Reflection:
    contracts = Contracts()
    contracts.admit(Contract.load(serialized(rules=False), [METHOD]))
    return Reflection(contracts, [])


@target(
    "weft/rpc/contracts/reflection",
    seeds=lambda: [
        contract_reader.pb.ServerReflectionRequest(file_by_filename="t.proto").SerializeToString(),
        contract_reader.pb.ServerReflectionRequest(
            file_containing_symbol="t.v1.Service.Call"
        ).SerializeToString(),
        contract_reader.pb.ServerReflectionRequest(list_services="*").SerializeToString(),
        contract_reader.pb.ServerReflectionRequest(
            file_containing_extension={"containing_type": "t.v1.Request", "extension_number": 100}
        ).SerializeToString(),
        contract_reader.pb.ServerReflectionRequest(
            all_extension_numbers_of_type="t.v1.Request"
        ).SerializeToString(),
    ],
    raises=(contract_reader.DecodeError,),
)
def reflection_question(data: bytes) -> None:
    answer, _ = _reflection()._answer(contract_reader.pb.ServerReflectionRequest.FromString(data), None)
    assert answer.WhichOneof("message_response")


@target(
    "weft/coordinator/contracts/compatibility",
    seeds=lambda: [joined(serialized(rules=False), serialized(rules=False))],
    max_bytes=64 * 1024,
    examples=10,
)
def two_versions(data: bytes) -> None:
    """Two contracts with the method, one after the other."""
    contracts = Contracts()
    for part in parts_of(data, 2):
        contracts.admit(Contract.load(part, [METHOD]))


@target(
    "weft/rpc/contracts/descriptor_shapes",
    "weft/coordinator/contracts/required_fields",
    seeds=lambda: [
        joined(bytes([0, 2, 1, 4]), requests()[0]),
        joined(bytes([3, 2, 1, 4, 0, 11, 0]), requests()[1]),
        joined(bytes([0, 1, 2, 1, 0, 18, 5, 5, 1, 9]), requests()[2]),
    ],
    examples=40,
)
def contract_shape(data: bytes) -> None:
    """A contract as no compiler writes it, if it is taken, and messages of it: none ends the process."""
    changes, payload = parts_of(data, 2)
    files = FileDescriptorSet.FromString(serialized(rules=False))
    shapes.change(files.file[-1], shapes.Choices(changes))
    loaded = Contract.load(files.SerializeToString(), [METHOD])
    info = loaded.methods[METHOD]
    for each in (payload, *requests()):
        with contextlib.suppress(InvalidArgument):
            info.request_form(info.check_request(each))
        for message_class in (info.request_class, info.response_class):
            with contextlib.suppress(InvalidArgument):
                json_form.render(each, message_class, loaded.pool, SecretFields())
    with contextlib.suppress(InvalidArgument):
        EventFilter("has(event.friend) && event.age > 0", EventType(info.descriptor.input_type)).matches(
            _event(payload)
        )
    json_form.parse(
        '{"name": "a", "byname": {"x": {}}, "m": {"1": "a"}, "people": [{}], "kind": 0}',
        info.request_class,
        loaded.pool,
    )
