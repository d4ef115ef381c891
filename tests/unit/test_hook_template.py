"""Templates of hooks, and bodies as values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from probe.v1 import probe_pb2
from weft.coordinator.hooks.hook_request import HookRequest, body_of
from weft.coordinator.hooks.hook_template import Template, TextTemplate
from weft.rpc.errors import InvalidArgument

VALUES = {
    "body": {
        "a": {"b": [1, {"c": "x"}]},
        "n": 1.5,
        "yes": True,
        "none": None,
        "text": "t",
        "big": "18446744073709551615",
    },
    "headers": {"x-kind": "push"},
    "query": {"q": "1"},
    "delivery": "d1",
}


@pytest.mark.parametrize(
    ("form", "filled"),
    [
        ({"x": "${body.a.b.1.c}"}, {"x": "x"}),
        ({"x": "${body.a.b}"}, {"x": [1, {"c": "x"}]}),
        ({"x": "${body.n}", "y": "${body.yes}", "z": "${body.none}"}, {"x": 1.5, "y": True, "z": None}),
        ({"x": "at ${body.n} of ${headers.X-Kind}!"}, {"x": "at 1.5 of push!"}),
        (
            {"x": "${body.missing}", "y": "<${body.missing.too}>", "z": ["${body.missing}", 1]},
            {"y": "<>", "z": [1]},
        ),
        ({"x": "$${body.n}", "y": "a $${ b"}, {"x": "${body.n}", "y": "a ${ b"}),
        ({"x": "${delivery}", "y": {"z": "${query.q}"}, "w": 3}, {"x": "d1", "y": {"z": "1"}, "w": 3}),
        ({"x": "${body.a.b.9}", "y": "${body.text.t}"}, {}),
        ({"x": "obj ${body.a.b.1}"}, {"x": 'obj {"c":"x"}'}),
    ],
)
def test_a_template_is_filled(form: Any, filled: Any) -> None:
    assert Template(json.dumps(form), "template").filled(VALUES) == filled


def test_what_is_filled_in_stays_a_value() -> None:
    """A request cannot change the form of a message, and its own placeholders stay text."""
    evil = {"body": {"a": '", "admin": true, "x": "${body.secret}', "secret": "s"}}
    assert Template('{"x": "${body.a}", "y": "-${body.a}"}', "t").filled(evil) == {
        "x": evil["body"]["a"],
        "y": "-" + evil["body"]["a"],
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("[1]", "must be a JSON object"),
        ('{"x": "${bodyx.a}"}', "has the placeholder"),
        ('{"x": "${body..a}"}', "has the placeholder"),
        ('{"x": "${}"}', "has the placeholder"),
        ('{"x": "${body.a"}', "without its '}'"),
        ('{"x": "${env.HOME}"}', "has the placeholder"),
        (json.dumps({"x": "a" * 20000}), "more than"),
        (json.dumps({"x": "${delivery}" * 300}), "placeholders"),
        ('{"x":' * 2000 + "1" + "}" * 2000, "not JSON|placeholder"),
    ],
)
def test_wrong_templates(text: str, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why):
        Template(text, "spec.incoming.template")


def test_names_of_fields_are_checked() -> None:
    request = probe_pb2.ProbeRequest.DESCRIPTOR
    Template('{"text": "${body.x}", "sleepS": 1}', "t").check_names(request, "t")
    with pytest.raises(InvalidArgument, match=r"'txt'.* does not have; it has text"):
        Template('{"txt": "${body.x}"}', "t").check_names(request, "t")


def test_keys() -> None:
    assert TextTemplate("order-${body.a.b.0}", "key").filled(VALUES) == "order-1"
    assert TextTemplate("${body.missing}", "key").filled(VALUES) == ""
    assert TextTemplate("${body.a}", "key").filled({"body": {"a": 1}}) == "1"


def request(body: bytes, kind: str = "application/json") -> HookRequest:
    return HookRequest(body, {"content-type": kind}, {})


def test_bodies() -> None:
    form = "application/x-www-form-urlencoded"
    assert body_of(request(b'\xef\xbb\xbf{"a": 1}')) == {"a": 1}
    assert body_of(request(b'{"a": "\\ud83d\\ude00"}')) == {"a": "\U0001f600"}
    assert body_of(request(b"a=1&b=%C3%A4&c=", form)) == {"a": "1", "b": "ä", "c": ""}
    assert body_of(request(b"payload=%7B%22a%22%3A1%7D", form)) == {"a": 1}
    # A number that no integer of 64 bits is; protobuf's JSON takes the text.
    assert body_of(request(b'{"a": 18446744073709551615, "b": -9223372036854775808}')) == {
        "a": "18446744073709551615",
        "b": -(2**63),
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"a": NaN}',
        b"[" * 5000,
        b"[" * 101 + b"]" * 101,
        b'{"a": ' + b"1" * 5000,
        b"text",
        b'{"a": "\\ud800"}',
    ],
)
def test_wrong_bodies(body: bytes) -> None:
    with pytest.raises(InvalidArgument, match="body"):
        body_of(request(body))
    with pytest.raises(InvalidArgument, match="character set"):
        body_of(request(b"{}", "application/json; charset=utf-16"))
