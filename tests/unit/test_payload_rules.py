"""Rules of `buf.validate` in a contract are compiled once, and each broken one is named by field, rule and message."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import threading
from typing import Any

import protovalidate
import pytest
from google.protobuf import json_format, text_format
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.ruled import compiled, loaded, message_class, ruled_method, ruled_pool, ruled_set
from tests.support.schema import METHOD, PACKAGE
from weft.coordinator import codec
from weft.coordinator.contracts.contract_catalogue import Contract, Contracts
from weft.rpc.contracts import descriptors, learned_cost, payload_rules
from weft.rpc.contracts.payload_rules import MAX_VIOLATIONS, PayloadRules
from weft.rpc.errors import FieldViolation, InvalidArgument, from_status
from weft.v1 import errors_pb2, options_pb2

PERSON = """
message Person {
  string name = 1 [(buf.validate.field).string = {min_len: 1, max_len: 10}];
  int32 age = 2 [(buf.validate.field).int32 = {gte: 0, lte: 150}];
  Person friend = 3;
}
message Request {
  Person person = 1 [(buf.validate.field).required = true];
  repeated Person people = 2 [(buf.validate.field).repeated.max_items = 3];
  map<string, Person> by_name = 3 [(buf.validate.field).map.keys.string.min_len = 2];
  map<int32, string> by_number = 4 [(buf.validate.field).map.values.string.min_len = 2];
  map<bool, string> by_truth = 5 [(buf.validate.field).map.values.string.min_len = 2];
  option (buf.validate.message).cel = {
    id: "one_or_other", message: "people or by_name, not both", expression: "size(this.people) == 0 || size(this.by_name) == 0"
  };
}
"""


def refusal_of(info: Any, request: str | dict[str, Any]) -> InvalidArgument | None:
    """How the coordinator refuses a request, given as text or JSON; None: it takes it."""
    message = info.request_class()
    if isinstance(request, str):
        text_format.Parse(request, message)
    else:
        json_format.ParseDict(request, message)
    payload = message.SerializeToString()
    try:
        info.check_rules(info.check_request(payload), len(payload))
    except InvalidArgument as error:
        return error
    return None


@pytest.fixture(scope="module")
def person() -> Any:
    return ruled_method(PERSON)


@pytest.mark.parametrize(
    ("request_text", "broken"),
    [
        ('person {name: "Ada"}', []),
        ("", [("person", "required")]),
        ('person {name: "Ada" age: 151}', [("person.age", "int32.gte_lte")]),
        ('person {name: "Ada" friend {friend {name: "Bob"}}}', [("person.friend.name", "string.min_len")]),
        ('person {name: "Ada"} people {name: "B"} people {}', [("people[1].name", "string.min_len")]),
        (
            'person {name: "Ada"} by_name {key: "x" value {name: "X"}}',
            [('by_name["x"]', "string.min_len")],
        ),
        (
            'person {name: "Ada"} by_name {key: "xy" value {}}',
            [('by_name["xy"].name', "string.min_len")],
        ),
        (
            'person {name: "Ada"} by_number {key: -7 value: "z"}',
            [("by_number[-7]", "string.min_len")],
        ),
        (
            'person {name: "Ada"} by_truth {key: true value: "z"}',
            [("by_truth[true]", "string.min_len")],
        ),
        (
            'person {name: "Ada"} people {name: "B"} by_name {key: "xy" value {name: "X"}}',
            [("", "one_or_other")],
        ),
        (
            'person {name: "12345678901" age: -1}',
            [("person.name", "string.max_len"), ("person.age", "int32.gte_lte")],
        ),
    ],
)
def test_broken_rules_are_named(person: Any, request_text: str, broken: list[tuple[str, str]]):
    error = refusal_of(person, request_text)
    if not broken:
        assert error is None
        return
    assert error is not None
    assert error.reason == errors_pb2.ERROR_REASON_RULES_VIOLATED
    assert [(each.field, each.reason) for each in error.violations] == broken
    assert all(each.description for each in error.violations)
    assert error.metadata == {"method": METHOD, "violations": str(len(broken))}
    for field, rule in broken:
        assert rule in error.message
        assert field in error.message


def test_a_refusal_arrives_with_its_violations(person: Any):
    error = refusal_of(person, 'person {name: "" age: 200}')
    assert error is not None
    received = from_status(error.status())
    assert received.violations == error.violations
    assert received.violations[0] == FieldViolation(
        "person.name", "must be at least 1 characters", "string.min_len"
    )


def test_a_key_is_named_as_one(person: Any):
    error = refusal_of(person, 'person {name: "Ada"} by_name {key: "x" value {name: "X"}}')
    assert error is not None
    assert error.violations[0].description == "the key must be at least 2 characters"


# -- the contract ---------------------------------------------------------------------------------------------------------

CEL = 'option (buf.validate.message).cel = {{id: "x", message: "m", expression: "{}"}};'
FIELD_CEL = '[(buf.validate.field).cel = {{id: "x", message: "m", expression: "{}"}}]'
NOT_COMPILED = {
    "syntax": (f"message Request {{ string a = 1 {FIELD_CEL.format('this ==== 1')}; }}", "Request.a", "x"),
    "a field that is not there": (
        f"message Request {{ string a = 1; {CEL.format('this.nope == 1')} }}",
        "Request",
        "no_such_field",
    ),
    "a field of what has none": (
        f"message Request {{ string a = 1 {FIELD_CEL.format('this.nope > 2')}; }}",
        "Request.a",
        "SELECT to non-message",
    ),
    "types": (f"message Request {{ string a = 1; {CEL.format('this.a + 1 == 2')} }}", "Request", "string"),
    "a function that is not there": (
        f"message Request {{ string a = 1; {CEL.format('foo(this.a)')} }}",
        "Request",
        "x",
    ),
    "in an inner message": (
        f"message In {{ string a = 1; string b = 2 {FIELD_CEL.format('this ==== 1')}; }} message Request {{ In i = 1; }}",
        "In.b",
        "x",
    ),
    "in a nested message of a map": (
        f"message Request {{ message In {{ string a = 1 {FIELD_CEL.format('this ==== 1')}; }} map<string, In> i = 1; }}",
        "Request.In.a",
        "x",
    ),
    "another type's rule": (
        "message Request { string a = 1; string b = 2 [(buf.validate.field).int32.gt = 1]; }",
        "Request.b",
        "int32",
    ),
    "a pattern": (
        'message Request { string a = 1 [(buf.validate.field).string.pattern = "a+"]; string b = 2 [(buf.validate.field).string.pattern = "("]; }',
        "Request.b",
        "string.pattern",
    ),
    "a pattern of items": (
        'message Request { repeated string a = 1 [(buf.validate.field).repeated.items.string.pattern = "("]; }',
        "Request.a",
        "string.pattern",
    ),
    "a pattern in an expression": (
        f"message Request {{ string a = 1; {CEL.format('this.a.matches(' + repr('(') + ')')} }}",
        "Request",
        "x",
    ),
    "a oneof of no fields": (
        'message Request { string a = 1; option (buf.validate.message).oneof = {fields: ["a", "zz"]}; }',
        "Request",
        "zz",
    ),
}


@pytest.mark.parametrize("case", NOT_COMPILED)
def test_rules_that_do_not_compile_are_refused_by_name(case: str):
    body, place, rule = NOT_COMPILED[case]
    with pytest.raises(InvalidArgument) as raised:
        ruled_method(body)
    assert raised.value.reason == errors_pb2.ERROR_REASON_CONTRACT_INVALID
    assert raised.value.field == f"{PACKAGE}.{place}"
    assert raised.value.message.startswith(f"{PACKAGE}.{place}: its rules of buf.validate do not compile: ")
    assert rule in raised.value.message
    assert "\n" not in raised.value.message


def test_rules_of_responses_must_compile_too():
    bad = 'message Response { string a = 1 [(buf.validate.field).string.pattern = "("]; }'
    with pytest.raises(InvalidArgument, match=rf"{PACKAGE}\.Response\.a: "):
        ruled_method("message Request {}", response=bad)


def test_switched_off_rules_need_not_compile():
    body = 'message Request { string a = 1 [(buf.validate.field).string.pattern = "("]; }'
    info = ruled_method(body, options="option (weft.v1.task).check_rules = false;")
    assert info.request_rules is None
    assert info.policy is not None
    assert not info.policy.check_rules


@pytest.mark.parametrize(
    ("expression", "request_text"),
    [
        ("10 / this.n > 1", "n: 0"),
        ("this.m['a'] == 'b'", "n: 1"),
        ("this.v.string_value == 'x'", "n: 1"),
        ("this.v.name == 'x'", "v {number_value: 1}"),
    ],
)
def test_a_rule_that_fails_for_a_message_refuses_the_message(expression: str, request_text: str):
    info = ruled_method(
        f"message Request {{ int32 n = 1; map<string, string> m = 2; google.protobuf.Value v = 3; {CEL.format(expression)} }}"
    )
    error = refusal_of(info, request_text)
    assert error is not None
    assert "cannot be evaluated" in error.message
    assert error.reason == errors_pb2.ERROR_REASON_RULES_VIOLATED


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(st.data())
def test_a_damaged_contract_is_refused_or_works(data: st.DataObject):
    """Options are bytes of strangers: the library behind the rules is not Python, and must not take the process along."""
    files = descriptors.PlainFileSet.FromString(_damageable())
    (damaged,) = (each for each in files.file if each.name == "t.proto")
    holders = [each for message in damaged.message_type for each in (message, *message.field)]
    holder = data.draw(st.sampled_from([each for each in holders if each.options.ByteSize()]))
    raw = bytearray(holder.options.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        holder.options.ParseFromString(bytes(raw))
    try:
        info = loaded(files)
    except InvalidArgument:
        return
    if info.request_rules is not None:
        refusal_of(info, 'person {name: "Ada"} people {age: 3} by_name {key: "x" value {name: "X"}}')


@functools.cache
def _damageable() -> bytes:
    serialized: bytes = ruled_set(PERSON).SerializeToString()
    return serialized


def test_an_operator_switches_the_checks_of_tasks(person: Any):
    contracts = Contracts()
    contracts.admit(Contract.load(_damageable(), [METHOD]))
    info = contracts.method(METHOD)
    defaults = codec.Defaults(60.0, 60.0, 1_000_000, 1_000_000)

    def submit() -> None:
        codec.submission(info, b"", "", None, contracts.policies.find(METHOD), defaults, "id")

    with pytest.raises(InvalidArgument, match="rule"):
        submit()
    contracts.policies.set_overrides({METHOD: options_pb2.TaskPolicy(check_rules=False)})
    submit()
    contracts.policies.set_overrides({})
    with pytest.raises(InvalidArgument, match="rule"):
        submit()


def test_no_rules_cost_nothing(person: Any):
    assert ruled_method("message Request { string a = 1; Request r = 2; }").request_rules is None
    assert person.request_rules is not None


def test_the_import_of_the_rules_may_be_missing_from_the_files():
    """Some reflections leave out what messages do not need; the options are bytes then."""
    files = ruled_set("message Request { string a = 1 [(buf.validate.field).string.min_len = 1]; }")
    kept = [each for each in files.file if each.name != "buf/validate/validate.proto"]
    del files.file[:]
    files.file.extend(kept)
    for each in files.file:
        if "buf/validate/validate.proto" in each.dependency:
            each.dependency.remove("buf/validate/validate.proto")
    error = refusal_of(loaded(files), "")
    assert error is not None
    assert error.violations[0].reason == "string.min_len"


def test_another_option_of_that_number_is_no_rule():
    text = f"""
      syntax = "proto3"; package {PACKAGE}; import "google/protobuf/descriptor.proto";
      message Mine {{ string y = 14; }}
      extend google.protobuf.FieldOptions {{ Mine mine = 1159; }}
      message Request {{ string a = 1 [(mine).y = "z"]; }} message Response {{}}
      service Service {{ rpc Call(Request) returns (Response); }}
    """
    assert loaded(compiled({"t.proto": text})).request_rules is None


def test_contracts_with_files_of_one_name_have_their_own_rules():
    bodies = [
        f"message Request {{ string a = 1 [(buf.validate.field).string.min_len = {n}]; }}" for n in (1, 3)
    ]
    loose, strict = map(ruled_method, bodies)
    assert refusal_of(loose, 'a: "xy"') is None
    assert refusal_of(strict, 'a: "xy"') is not None


def test_rules_of_ones_own_are_checked():
    shout = """
      syntax = "proto2"; package own.v1; import "buf/validate/validate.proto";
      extend buf.validate.StringRules { optional bool shout = 5000 [(buf.validate.predefined).cel = {
        id: "string.shout", message: "must shout", expression: "!rule || this.endsWith('!')"}]; }
    """
    text = f"""
      syntax = "proto3"; package {PACKAGE}; import "buf/validate/validate.proto"; import "own.proto";
      message Request {{ string a = 1 [(buf.validate.field).string.(own.v1.shout) = true]; }} message Response {{}}
      service Service {{ rpc Call(Request) returns (Response); }}
    """
    info = loaded(compiled({"own.proto": shout, "t.proto": text}))
    error = refusal_of(info, 'a: "hello"')
    assert error is not None
    assert error.violations == (FieldViolation("a", "must shout", "string.shout"),)
    assert refusal_of(info, 'a: "hello!"') is None


# -- bounds ---------------------------------------------------------------------------------------------------------------


def test_an_error_has_a_bounded_number_of_violations():
    info = ruled_method(
        "message Request { repeated string a = 1 [(buf.validate.field).repeated.items.string.min_len = 3]; }"
    )
    error = refusal_of(info, {"a": ["x"] * 500})
    assert error is not None
    assert len(error.violations) == MAX_VIOLATIONS
    assert error.metadata["violations"] == "500"
    assert "breaks 500 rules" in error.message
    assert "and 497 more" in error.message
    # Stock gRPC takes 8 KiB of headers.
    assert error.status().ByteSize() < 6 * 1024


def test_of_a_large_request_the_first_violation_is_named():
    info = ruled_method(
        "message Request { repeated string a = 1 [(buf.validate.field).repeated.items.string.min_len = 3]; bytes b = 2; }"
    )
    error = refusal_of(info, {"a": ["x"] * 500, "b": "A" * payload_rules.ALL_UP_TO_BYTES * 2})
    assert error is not None
    assert len(error.violations) == 1
    assert "only the first" in error.message


@pytest.mark.parametrize("macro", ["map(a, a + 1)", "filter(a, a >= 0)"])
def test_lists_that_rules_copy_are_bounded(macro: str):
    """10,000 numbers would take seconds and gigabytes: the library copies the list for each element."""
    info = ruled_method(
        f"message Request {{ repeated int32 n = 1; {CEL.format(f'this.n.{macro}.size() >= 0')} }}"
    )
    assert refusal_of(info, {"n": list(range(500))}) is None
    error = refusal_of(info, {"n": list(range(10_000))})
    assert error is not None
    assert "would take more than" in error.message


@pytest.mark.slow
def test_very_many_messages_are_bounded_and_long_data_is_not():
    info = ruled_method(
        "message In { string a = 1 [(buf.validate.field).string.max_len = 3]; }"
        " message Request { repeated In i = 1; bytes b = 2; repeated float f = 3; map<string, In> m = 4; }"
    )
    assert refusal_of(info, {"b": "A" * 4_000_000, "f": [1.0] * 200_000, "i": [{}] * 20_000}) is None
    for field, value in (("i", [{}] * 120_000), ("m", {f"k{n}": {} for n in range(120_000)})):
        error = refusal_of(info, {field: value})
        assert error is not None, field
        assert "would take more than" in error.message


def test_a_check_that_took_long_is_the_last_of_its_size(monkeypatch: pytest.MonkeyPatch):
    info = ruled_method(
        """
message Request {
  repeated string texts = 1 [(buf.validate.field).cel = {
    id: "costly", message: "never", expression: "this.all(a, this.all(b, !(a + b).contains('xyz')))"
  }];
}
"""
    )
    large = {"texts": ["a" * 20_000] * 8}
    assert refusal_of(info, large) is None
    monkeypatch.setattr(learned_cost, "COSTLY_S", 0.0)
    # It runs once more, and was the last of its size.
    assert refusal_of(info, large) is None
    refused = refusal_of(info, large)
    assert refused is not None
    assert "the rules of this contract took" in refused.message
    assert refusal_of(info, {"texts": ["a" * 1000]}) is None


def test_requests_too_deep_for_the_parser_are_refused_if_there_are_rules():
    body = "message Request { Request r = 1; string a = 2 [(buf.validate.field).string.max_len = 3]; }"
    info = ruled_method(body)
    payload = b""
    for _ in range(150):
        length = len(payload)
        size = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
        payload = b"\x0a" + size + payload
    with pytest.raises(InvalidArgument, match="nests deeper than 100 levels"):
        info.check_rules(info.check_request(payload), len(payload))


def test_one_set_of_rules_serves_many_threads(person: Any):
    good = person.request_class.FromString(b"\x0a\x05\x0a\x03Ada")
    bad = person.request_class()
    wrong: list[object] = []

    def check() -> None:
        for _ in range(300):
            if (
                person.request_rules.broken(good, 7) is not None
                or person.request_rules.broken(bad, 0).total != 1
            ):
                wrong.append(threading.current_thread())

    threads = [threading.Thread(target=check) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


# -- agreement with the library ----------------------------------------------------------------------------------------------

_PEOPLE: Any = st.deferred(
    lambda: st.fixed_dictionaries(
        {}, optional={"name": st.text(max_size=12), "age": st.integers(-3, 200), "friend": _PEOPLE}
    )
)
_REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "person": _PEOPLE,
        "people": st.lists(_PEOPLE, max_size=4),
        "byName": st.dictionaries(st.text(max_size=3), _PEOPLE, max_size=3),
        "byNumber": st.dictionaries(st.integers(-3, 3).map(str), st.text(max_size=3), max_size=3),
    },
)
_LIBRARY_POOL = ruled_pool(PERSON)
_LIBRARY = protovalidate.Validator()


@settings(deadline=None, max_examples=200)
@given(_REQUESTS)
def test_coordinator_and_library_agree(request_json: dict[str, Any]):
    error = refusal_of(_agreeing(), request_json)
    message = json_format.ParseDict(request_json, message_class(_LIBRARY_POOL)())
    found = _LIBRARY.collect_violations(message)
    assert (error is None) == (not found)
    if error is not None:
        assert error.metadata["violations"] == str(len(found))
        # The order of a map's entries is its own.
        if len(found) == len(error.violations):
            assert sorted(each.reason for each in error.violations) == sorted(
                each.proto.rule_id for each in found
            )


@functools.cache
def _agreeing() -> Any:
    return ruled_method(PERSON)


def test_a_type_is_compiled_once():
    pool = ruled_pool(PERSON)
    rules = PayloadRules(pool)
    first = rules.of(message_class(pool).DESCRIPTOR)
    assert first is not None
    assert rules.of(message_class(pool).DESCRIPTOR) is first
    assert (
        rules.of(descriptors.message_class(pool.FindMessageTypeByName(f"{PACKAGE}.Response")).DESCRIPTOR)
        is None
    )


_LOADS = """
import asyncio, importlib, sys, threading
from weft.coordinator.contracts.contract_catalogue import Contract
from weft.rpc.contracts.payload_rules import load_library

where = []
found = importlib.import_module
importlib.import_module = lambda name: (where.append(threading.current_thread() is threading.main_thread()), found(name))[1]
given = sys.stdin.buffer.read()
asyncio.run(load_library(given))
before = "protovalidate" in sys.modules
Contract.load(given, [sys.argv[1]])
print(before, where, "protovalidate" in sys.modules)
"""


@pytest.mark.parametrize(
    ("body", "printed"),
    [
        ("message Request { string a = 1 [(buf.validate.field).string.min_len = 1]; }", "True [False] True"),
        # The file of rules alone is no reason.
        ("message Request { string a = 1; }", "False [] False"),
    ],
)
def test_the_library_is_loaded_in_a_thread_and_for_rules_alone(body: str, printed: str) -> None:
    """Its import would hold up a coordinator's event loop for 0.2 s."""
    given = ruled_set(body).SerializeToString()
    command = [sys.executable, "-c", _LOADS, METHOD]
    out = subprocess.run(command, input=given, capture_output=True, check=True).stdout
    assert out.decode().strip() == printed
