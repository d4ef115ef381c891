"""Secret fields of a contract: left out of JSON, logs, traces and violations, at any depth; and no keys of policies."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from google.protobuf import any_pb2, text_format
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ruled import compiled, message_class, ruled_method, ruled_pool, ruled_set
from tests.support.schema import PACKAGE
from weft.cli.terminal.payload_view import PayloadView
from weft.rpc.contracts import descriptors
from weft.rpc.contracts.contract_reader import ResolvedMethod
from weft.rpc.contracts.json_rendering import json_value
from weft.rpc.contracts.payload_rules import PayloadRules
from weft.rpc.contracts.secret_fields import SecretFields
from weft.rpc.errors import InvalidArgument
from weft.rpc.process import redaction
from weft.rpc.process.redaction import REDACTED, declare_secrets, redacted, redacted_text
from weft.rpc.task_policy.key_paths import compile_key

BODY = """
message Request {
  string user = 1;
  string api_code = 2 [(weft.v1.field).secret = true];
  Card card = 3 [(weft.v1.field).secret = true];
  map<string, string> env = 4 [(weft.v1.field).secret = true];
  repeated int64 pins = 5 [debug_redact = true];
  oneof way { bytes blob = 6 [(weft.v1.field) = {secret: true}]; Wrapped wrapped = 7; }
  repeated Wrapped list = 8;
  map<string, Wrapped> table = 9;
  google.protobuf.Any packed = 10;
  google.protobuf.Struct free = 11 [debug_redact = true];
  message Wrapped { string plain = 1; string hidden = 2 [debug_redact = true]; Request again = 3; }
}
message Card { string number = 1; Owner owner = 2; }
message Owner { string full_name = 1; }
"""
POOL = ruled_pool(BODY)
REQUEST: Any = message_class(POOL)
TYPE = REQUEST.DESCRIPTOR
FIND = "Hunter2"


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret fields of the contract are declared, for one test."""
    monkeypatch.setattr(redaction._Declared, "names", frozenset())
    monkeypatch.setattr(redaction._Declared, "texts", ())
    declare_secrets(SecretFields().within(TYPE))


def full(secret: str = FIND) -> Any:
    """A request with the text in every secret field."""
    request = REQUEST(
        user="Ada", api_code=secret, pins=[int.from_bytes(secret.encode()[:7])], env={secret: secret}
    )
    request.card.number = request.card.owner.full_name = secret
    request.free["x"] = {"y": [secret]}
    for wrapped in (request.wrapped, request.list.add(), request.table["k"]):
        wrapped.plain, wrapped.hidden, wrapped.again.api_code = "seen", secret, secret
    request.packed.Pack(REQUEST(user="inner", api_code=secret))
    return request


def readable() -> Any:
    """A full request without an Any: protobuf writes one of another pool as bytes."""
    request = full()
    request.ClearField("packed")
    return request


def resolved() -> ResolvedMethod:
    return ResolvedMethod("t.v1.Service/Call", 1, REQUEST, message_class(POOL, "Response"), POOL)


@given(st.text(st.characters(categories=["L", "N"]), min_size=7))
def test_no_secret_value_is_shown(text: str) -> None:
    secret = f"§{text}§"
    payload = full(secret).SerializeToString()
    shown = json.dumps(PayloadView(resolved()).request(payload), ensure_ascii=False)
    assert secret not in shown
    assert str(int.from_bytes(secret.encode()[:7])) not in shown
    assert secret in json.dumps(
        PayloadView(resolved(), show_secrets=True).request(payload), ensure_ascii=False
    )


def test_what_is_no_secret_is_shown() -> None:
    request = full()
    shown = json_value(request, POOL, SecretFields())
    assert shown["user"] == "Ada"
    assert shown["apiCode"] == shown["card"] == shown["env"] == shown["pins"] == shown["free"] == REDACTED
    wrapped = {"plain": "seen", "hidden": REDACTED, "again": {"apiCode": REDACTED}}
    assert shown["wrapped"] == shown["list"][0] == shown["table"]["k"] == wrapped
    assert shown["packed"] == {
        "@type": f"type.googleapis.com/{PACKAGE}.Request",
        "user": "inner",
        "apiCode": REDACTED,
    }
    assert "blob" not in shown


def test_what_cannot_be_read_is_not_shown() -> None:
    unknown = any_pb2.Any(type_url="type.googleapis.com/acme.Unknown", value=FIND.encode())
    status = status_pb2.Status(code=13, message="no", details=[unknown])
    assert PayloadView().status(status)["details"] == [{"@type": unknown.type_url, "bytes": len(FIND)}]
    assert PayloadView(show_secrets=True).status(status)["details"][0].keys() == {"@type", "value"}
    assert PayloadView().request(b"\xff\xff") == {"bytes": 2}
    assert PayloadView(resolved()).request(b"\xff\xff") == {"bytes": 2}
    assert PayloadView(resolved(), show_secrets=True).request(b"\xff\xff") == {"base64": "//8="}


def test_details_are_shown_by_the_contract() -> None:
    packed = any_pb2.Any()
    packed.Pack(REQUEST(user="Ada", api_code=FIND))
    status = status_pb2.Status(code=13, details=[packed])
    (detail,) = PayloadView(resolved()).status(status)["details"]
    assert (detail["user"], detail["apiCode"]) == ("Ada", REDACTED)


def test_names_within() -> None:
    names = SecretFields().within(TYPE)
    assert {
        "api_code",
        "apiCode",
        "card",
        "number",
        "owner",
        "full_name",
        "fullName",
        "env",
        "pins",
        "blob",
    } <= names
    assert names.isdisjoint({"user", "plain", "list", "table", "packed", "value", "key", "wrapped", "again"})
    assert SecretFields().within(message_class(POOL, "Response").DESCRIPTOR) == frozenset()


def test_another_option_of_the_same_number_says_nothing() -> None:
    files = {
        "t.proto": f"""
            syntax = "proto3"; package {PACKAGE}; import "google/protobuf/descriptor.proto";
            extend google.protobuf.FieldOptions {{ Own own = 50712; }}
            message Own {{ bool other = 1; }}
            message Request {{ string a = 1 [(own).other = true]; string b = 2 [debug_redact = true]; }}
        """
    }
    pool = descriptors.build_pool(compiled(files).file)
    assert SecretFields().within(message_class(pool).DESCRIPTOR) == {"b"}


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize(
    "text",
    [
        str(readable()),
        text_format.MessageToString(readable(), as_one_line=True),
        repr({"api_code": FIND, "card": {"number": [FIND, {"a": FIND}], "x": FIND}}),
        json.dumps({"apiCode": FIND, "env": {"a": FIND}, "blob": FIND}),
        f"Request(api_code='{FIND}', pins=[1, '{FIND}'], env={{'a': '{FIND}'}})",
        f"api_code={FIND} and then",
        f"card {{ owner {{ full_name: '{FIND}' }} a {{ b {{ c {{ d {{ e {{ f: '{FIND}'",
        f'ValueError: card {{number: "}}" full_name: "{FIND}"}}',
    ],
)  # fmt: skip
def test_texts_of_programs(text: str) -> None:
    assert FIND not in redacted_text(text)


@pytest.mark.usefixtures("declared")
def test_fields_of_log_lines_and_spans() -> None:
    assert redacted({"api_code": 7, "user": "Ada", "more": {"fullName": FIND}}) == {
        "api_code": REDACTED,
        "user": "Ada",
        "more": {"fullName": REDACTED},
    }
    assert redaction.without_declared("pins", 7) == REDACTED
    assert redaction.without_declared("user", f"Ada, pins: {FIND}") == f"Ada, pins: {REDACTED}"
    assert redaction.without_declared("password", FIND) == FIND
    assert redacted_text("the card is blue; my_api_code_2=3") == "the card is blue; my_api_code_2=3"


@pytest.mark.usefixtures("declared")
@pytest.mark.parametrize(
    "part", ["card {", "card: ", "card=", "card {{", "[", 'card "', "card {a}", "\\card{"]
)
def test_hostile_texts_take_linear_time(part: str) -> None:
    def took_s(size: int) -> float:
        text = part * (size // len(part))
        began_s = time.perf_counter()
        redacted_text(text)
        return time.perf_counter() - began_s

    took_s(1000)
    assert took_s(100_000) < 60 * took_s(10_000) + 0.2


@pytest.mark.parametrize(
    "expression", ["api_code", "card.number", "wrapped.hidden", "wrapped.again.api_code"]
)
def test_no_key_of_a_policy(expression: str) -> None:
    with pytest.raises(InvalidArgument, match="is a secret field, and values of keys are shown"):
        compile_key(expression, TYPE, "fairness_key")


def test_a_contract_with_a_secret_key_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="api_code is a secret field"):
        ruled_method(BODY, options='option (weft.v1.task) = {fairness_key: "api_code"};')
    ruled_method(BODY, options='option (weft.v1.task) = {fairness_key: "user"};')


def test_violations_do_not_tell_the_value() -> None:
    body = """
    message Request {
      string code = 1 [debug_redact = true, (buf.validate.field).cel = {
        id: "code.short", expression: "this.size() < 4 ? '' : 'too long: ' + this" }];
      map<string, string> env = 2 [debug_redact = true, (buf.validate.field).map.keys.string.max_len = 3];
      string plain = 3 [(buf.validate.field).cel = {
        id: "plain.short", expression: "this.size() < 4 ? '' : 'too long: ' + this" }];
    }"""
    pool = ruled_pool(body)
    request: Any = message_class(pool)(code=FIND, env={FIND: "x"}, plain="visible")
    rules = PayloadRules(pool).of(request.DESCRIPTOR)
    assert rules is not None
    broken = rules.broken(request, 100)
    assert broken is not None
    assert FIND not in repr(broken.listed)
    by_field = {each.field: each for each in broken.listed}
    assert by_field.keys() == {"code", "env", "plain"}
    assert by_field["code"].reason == "code.short"
    assert by_field["plain"].description == "too long: visible"


def test_files_without_the_options_are_not_read() -> None:
    files = ruled_set("message Request { string a = 1; }")
    pool = descriptors.build_pool(files.file)
    assert SecretFields().within(message_class(pool).DESCRIPTOR) == frozenset()
