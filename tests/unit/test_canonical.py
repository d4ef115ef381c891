"""One digest for all serializations of a request: the wire order is shuffled at random, by an encoder of the test's own."""

from __future__ import annotations

import random
import time

import hypothesis.strategies as st
import pytest
from google.protobuf import any_pb2, struct_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given, settings

from tests.support.schema import METHOD, file, file_set
from tests.support.trees import (
    DEFAULTS,
    FIELDS,
    INFO,
    PLAIN,
    TREES,
    digest,
    encode,
    shuffled,
    without_any,
)
from tests.support.wire_format import delimited, number
from weft.coordinator import codec
from weft.coordinator.contracts import canonical
from weft.coordinator.contracts.contract_catalogue import Contract
from weft.v1 import task_pb2

# -- what must hold --------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(TREES, st.integers(), st.integers())
def test_every_order_of_a_message_has_one_digest(tree, one, other):
    first, second = encode(tree, random.Random(one)), encode(tree, random.Random(other))
    assert digest(first) == digest(second)
    plain = without_any(tree)
    first, second = encode(plain, random.Random(one)), encode(plain, random.Random(other))
    assert digest(first, PLAIN) == digest(second, PLAIN)


@settings(max_examples=100, deadline=None)
@given(TREES, TREES, st.integers())
def test_different_messages_have_different_digests(tree, other, seed):
    rng = random.Random(seed)
    assert (digest(encode(tree, rng)) == digest(encode(other, rng))) == (tree == other)


@settings(max_examples=100, deadline=None)
@given(TREES, st.integers(0, 7), st.integers())
def test_a_small_change_is_another_message(tree, which, seed):
    changed = dict(tree)
    kind = list(FIELDS.values())[which]
    changed[kind] = {
        "number": tree.get("number", 0) + 1,
        "numbers": [*tree.get("numbers", []), 7],
        "text": tree.get("text", "") + "x",
        "texts": ["x", *tree.get("texts", [])],
        "map": {**tree.get("map", {}), "a new key": {}},
        "sub": {"sub": tree.get("sub", {})},
        "subs": [*tree.get("subs", []), {}],
        "any": ("x/t.v1.Node", {"sub": {"text": "another"}, "number": 5}),
    }[kind]
    assert digest(encode(tree, random.Random(seed))) != digest(encode(changed, random.Random(seed)))


def test_lists_keep_their_order():
    one, two = (
        encode({"texts": ["a", "b"]}, random.Random(1)),
        encode({"texts": ["b", "a"]}, random.Random(1)),
    )
    assert digest(one) != digest(two)


def test_what_was_stored_before_keeps_its_digest():
    """A message without maps, as every library writes it, is its own form."""
    payload = INFO.request_class(number=3, numbers=[1, 2], text="a", texts=["b"]).SerializeToString()
    assert INFO.request_form(INFO.request_class.FromString(payload)) == payload


def test_a_dict_method_knows_its_request_again():
    main = file(
        "s.proto",
        methods=["Call .google.protobuf.Struct .google.protobuf.Struct"],
        imports=["google/protobuf/struct.proto"],
    )
    imported = FileDescriptorProto.FromString(struct_pb2.DESCRIPTOR.serialized_pb)
    info = Contract.load(file_set(imported, main), [METHOD]).methods[METHOD]
    digests = set()
    for seed in range(20):
        keys = [f"key {n}" for n in range(10)]
        random.Random(seed).shuffle(keys)
        nested = struct_pb2.Struct()
        nested.update({key: {"in": {key: 1, "b": [{"x": 1, "y": 2}]}} for key in keys})
        digests.add(digest(nested.SerializeToString(), info))
    assert len(digests) == 1


def test_no_request_id_no_digest():
    given = codec.submission(INFO, b"", "", task_pb2.TaskOptions(priority=1), None, DEFAULTS, "")
    assert given.request_digest == b""
    with_options = codec.submission(INFO, b"", "id", task_pb2.TaskOptions(priority=1), None, DEFAULTS, "")
    assert with_options.request_digest == digest(b"")


# -- bounds ----------------------------------------------------------------------------------------------------------


def test_any_within_any_ends():
    """Each level is a parse of its own: their depth is bounded here."""
    payload = encode({"number": 1}, random.Random(0))
    for _ in range(3000):
        payload = delimited(
            8,
            shuffled(
                [(1, delimited(1, b"x/t.v1.Node")), (2, delimited(2, payload))],
                random.Random(1),
                frozenset(),
            ),
        )
    assert digest(payload) == digest(payload)


@pytest.mark.parametrize("field", [50, 4], ids=["unknown", "known"])
def test_very_many_fields_do_not_hold_the_event_loop(field):
    rng = random.Random(3)
    chunks = [(field, delimited(field, b"x"))] * (canonical.MAX_FIELDS + 1) + [(1, number(1, 5))]
    began_s = time.process_time()
    digests = {digest(shuffled(chunks, rng, frozenset())) for _ in range(2)}
    assert time.process_time() - began_s < 1.0
    assert len(digests) == 1


@pytest.mark.parametrize("levels", [1, 2, 90])
def test_large_messages_within_each_other_do_not_hold_the_event_loop(levels):
    """Each level is copied: 95 of 4 MiB took seconds."""
    form = struct_pb2.Value(string_value="x" * (2 << 20)).SerializeToString()
    name = "google.protobuf.Value"
    for _ in range(levels):
        form = any_pb2.Any(type_url=f"type.googleapis.com/{name}", value=form).SerializeToString()
        name = "google.protobuf.Any"
    chunks = [(1, number(1, 5)), (8, delimited(8, form))]
    began_s = time.process_time()
    digests = {digest(b"".join(content for _, content in each)) for each in (chunks, chunks[::-1])}
    assert time.process_time() - began_s < 1.0
    assert len(digests) == 1


def test_very_many_any_do_not_hold_the_event_loop():
    packed = any_pb2.Any(type_url="type.googleapis.com/google.protobuf.Value").SerializeToString()
    form = delimited(8, packed)
    subs = b"".join(delimited(7, form) for _ in range(9000))
    began_s = time.process_time()
    assert digest(subs) != digest(subs + number(1, 5))
    assert time.process_time() - began_s < 1.0


def test_a_request_that_is_any_has_one_form():
    forms = set()
    for names in ("ab", "ba"):
        entries = b"".join(delimited(1, delimited(1, name.encode()) + delimited(2, b"")) for name in names)
        packed = any_pb2.Any(type_url="type.googleapis.com/google.protobuf.Struct", value=entries)
        forms.add(canonical.canonical_form(packed, ordered=False))
    assert len(forms) == 1
