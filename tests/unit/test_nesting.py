"""Requests that nest deeper than protobuf's parser goes: what it would say without that limit is the measure."""

from __future__ import annotations

import random
import time
from typing import Any

import hypothesis.strategies as st
import pytest
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import Phase, assume, given, settings

from tests.support.deep import LIMIT, unlimited
from tests.support.schema import METHOD, file, file_set
from tests.support.trees import INFO, PLAIN, TREES, digest, encode, without_any
from tests.support.wire_format import delimited
from weft.coordinator.contracts.contract_catalogue import Contract
from weft.coordinator.contracts.method_info import MethodInfo
from weft.coordinator.contracts.nesting import MAX_FIELDS, DeepRequest
from weft.rpc.errors import InvalidArgument

WAYS_IN = st.builds(
    lambda count, seed: random.Random(seed).choices(["sub", "subs", "map"], k=count),
    st.integers(LIMIT + 1, LIMIT + 30),
    st.integers(0, 1000),
)


def deep(tree: Any, ways: list[str], rng: random.Random) -> dict[str, Any]:
    """A message with the tree in it, so far down; with something beside it on the way."""
    for way in ways:
        beside: dict[str, Any] = (
            {"text": "x", "map": {"b": {"number": 1}, "a": {}}} if rng.random() < 0.1 else {}
        )
        inner = {"sub": tree, "subs": [{"number": 2}, tree, {}], "map": {"k": tree, "a": {"text": "y"}}}[way]
        tree = {**beside, way: inner}
    return tree


def well_formed(payload: bytes, info: MethodInfo) -> bool:
    with unlimited():
        try:
            return bool(info.request_class.FromString(payload).IsInitialized())
        except DecodeError:
            return False


def accepts(payload: bytes, info: MethodInfo) -> bool:
    try:
        info.check_request(payload)
    except InvalidArgument:
        return False
    return True


def has_deep_entry_with_unknown_field(payload: bytes) -> bool:
    """The parser keeps such an entry of a map by writing it again, and its writer has a limit of depth that cannot be lifted."""
    if not accepts(payload, PLAIN):
        return False
    request = PLAIN.check_request(payload)
    return isinstance(request, DeepRequest) and any(
        level.type.GetOptions().map_entry and len(UnknownFieldSet(level.rest)) for level in request._levels
    )


@settings(max_examples=15, deadline=None, phases=[Phase.generate])
@given(TREES, WAYS_IN, st.integers(), st.integers())
def test_every_order_of_a_deep_message_has_one_digest(tree, ways, one, other):
    whole = deep(tree, ways, random.Random(1))
    first, second = encode(whole, random.Random(one)), encode(whole, random.Random(other))
    assert isinstance(INFO.check_request(first), DeepRequest)
    assert digest(first) == digest(second)
    plain = without_any(whole)
    first, second = encode(plain, random.Random(one)), encode(plain, random.Random(other))
    assert digest(first, PLAIN) == digest(second, PLAIN)


@settings(max_examples=15, deadline=None, phases=[Phase.generate])
@given(TREES, TREES, WAYS_IN, st.integers())
def test_different_deep_messages_have_different_digests(tree, other, ways, seed):
    rng = random.Random(seed)
    one, two = (encode(deep(each, ways, random.Random(1)), rng) for each in (tree, other))
    assert (digest(one) == digest(two)) == (tree == other)


def test_the_form_of_a_deep_message_is_a_serialization_of_it():
    payload = encode(deep({"text": "end"}, ["map", "subs", "sub"] * 40, random.Random(1)), random.Random(2))
    form = PLAIN.request_form(PLAIN.check_request(payload))
    with unlimited():
        assert PLAIN.request_class.FromString(form) == PLAIN.request_class.FromString(payload)


@settings(max_examples=100, deadline=None, phases=[Phase.generate])
@given(WAYS_IN, st.integers(), st.data())
def test_a_damaged_deep_message_is_judged_as_by_a_parser_without_the_limit(ways, seed, data):
    payload = bytearray(encode(deep({"text": "é"}, ways, random.Random(1)), random.Random(seed)))
    kind = data.draw(st.sampled_from(["cut", "byte", "more"]))
    if kind == "cut":
        del payload[data.draw(st.integers(0, len(payload) - 1)) :]
    elif kind == "byte":
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    else:
        payload += data.draw(st.binary(max_size=8))
    assume(not has_deep_entry_with_unknown_field(bytes(payload)))
    assert accepts(bytes(payload), PLAIN) == well_formed(bytes(payload), PLAIN)


def groups(count: int, number: int = 9) -> bytes:
    return bytes([number << 3 | 3]) * count + bytes([number << 3 | 4]) * count


REQUIRED = Contract.load(
    file_set(file("t.proto", {"Request": "required string name = 1; optional Request sub = 2"})),
    [METHOD],
).methods[METHOD]


_TEXT = file("t.proto", {"Request": "string text = 1; Request sub = 2"})
_TEXT.syntax = "proto3"
TEXT = Contract.load(file_set(_TEXT), [METHOD]).methods[METHOD]


def chain(levels: int, end: bytes, each: bytes = b"", number: int = 2) -> bytes:
    for _ in range(levels):
        end = each + delimited(number, end)
    return end


@pytest.mark.parametrize(
    ("payload", "info"),
    [
        pytest.param(groups(150), PLAIN, id="unknown groups"),
        pytest.param(groups(150) + b"\x08", PLAIN, id="unknown groups, cut"),
        pytest.param(groups(150)[:-1], PLAIN, id="a group without an end"),
        pytest.param(chain(150, b"\x0a\x01n", b"\x0a\x01n"), REQUIRED, id="required fields"),
        pytest.param(chain(150, b"", b"\x0a\x01n"), REQUIRED, id="the innermost lacks a required field"),
        pytest.param(chain(50, chain(100, b"\x0a\x01n", b"\x0a\x01n")), REQUIRED, id="the outer ones do"),
        pytest.param(chain(3000, b"\x0a\x01n", b"\x0a\x01n"), REQUIRED, id="3000 levels"),
        pytest.param(chain(150, b"\x0a\x01\xff"), TEXT, id="no UTF-8"),
        pytest.param(chain(150, b"\x1a" + b"\x80" * 10, number=6), PLAIN, id="a length without an end"),
        pytest.param(chain(150, b"\x00\x00", number=6), PLAIN, id="a field 0"),
        pytest.param(chain(150, b"\x0f", number=6), PLAIN, id="a wire type that is none"),
    ],
)
def test_odd_ones_are_judged_as_by_a_parser_without_the_limit(payload: bytes, info: MethodInfo):
    assert accepts(payload, info) == well_formed(payload, info)


@pytest.mark.slow
def test_a_large_deep_message_is_looked_at_within_bounds():
    """One that is more than may be looked at is its handler's to refuse; its bytes are its form."""
    wide = chain(120, b"\x08\x01" * (1 << 20), number=6)
    blob = chain(5000, b"\x1a" + b"\x80\x80\x80\x01" + b"x" * (1 << 21), number=6)
    dense = chain(120, b"", b"\x32\x02\x08\x01" * 1000, number=6)
    for payload in (wide, blob, dense):
        began = time.process_time()
        request = PLAIN.check_request(payload)
        assert isinstance(request, DeepRequest)
        PLAIN.request_form(request)
        assert time.process_time() - began < 5
    assert (
        PLAIN.request_form(PLAIN.check_request(chain(150, b"\x08\x01" * (MAX_FIELDS + 1), number=6)))
        is not None
    )
