"""One digest for all serializations of a request: the wire order is shuffled at random, by an encoder of the test's own."""

from __future__ import annotations

import random
import time
from typing import Any

import hypothesis.strategies as st
import pytest
from google.protobuf import any_pb2, struct_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given, settings

from tests.support.schema import METHOD, file, file_set
from weft.coordinator import codec
from weft.coordinator.contracts import canonical
from weft.coordinator.contracts.contract_catalogue import Contract, MethodInfo
from weft.v1 import task_pb2

# The kinds of a message's fields: number, varint-coded numbers, text, list of texts, map, message, list of messages, Any.
FIELDS = {1: "number", 2: "numbers", 3: "text", 4: "texts", 5: "map", 6: "sub", 7: "subs", 8: "any"}
NODE = (
    "int64 number = 1; repeated int64 numbers = 2; string text = 3; repeated string texts = 4;"
    " map<string, Node> map = 5; Node sub = 6; repeated Node subs = 7; .google.protobuf.Any any = 8"
)
DEFAULTS = codec.Defaults(
    result_ttl_s=1.0, failure_ttl_s=1.0, max_payload_bytes=1 << 24, max_metadata_bytes=1 << 17
)


def info_of(messages: dict[str, str]) -> MethodInfo:
    imported = FileDescriptorProto.FromString(any_pb2.DESCRIPTOR.serialized_pb)
    main = file("t.proto", messages, imports=[imported.name])
    return Contract.load(file_set(imported, main), [METHOD]).methods[METHOD]


INFO = info_of({"Request": NODE, "Node": NODE})
# Without Any: protobuf's own form does, but for unknown fields.
PLAIN = info_of({"Request": NODE.rpartition(";")[0], "Node": NODE.rpartition(";")[0]})


def digest(payload: bytes, info: MethodInfo = INFO) -> bytes:
    return codec.submission(info, payload, "id", None, DEFAULTS, "").request_digest


# -- messages as trees, and their encodings ------------------------------------------------------------------------

NUMBERS = st.integers(0, 1 << 40)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)
UNKNOWN = st.dictionaries(
    st.integers(50, 53),
    st.lists(st.one_of(NUMBERS, st.binary(max_size=5)), min_size=1, max_size=3),
    min_size=1,
    max_size=2,
)


def _nodes(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {},
        optional={
            "number": NUMBERS,
            "numbers": st.lists(NUMBERS, min_size=1, max_size=4),
            "text": TEXTS,
            "texts": st.lists(TEXTS, min_size=1, max_size=3),
            "map": st.dictionaries(TEXTS, inner, min_size=1, max_size=4),
            "sub": inner,
            "subs": st.lists(inner, min_size=1, max_size=3),
            "any": st.tuples(st.sampled_from(["x/t.v1.Node", "x/unknown.Type"]), inner)
            | st.tuples(st.just("x/google.protobuf.Struct"), st.dictionaries(TEXTS, TEXTS, max_size=4)),
            "unknown": UNKNOWN,
        },
    )


TREES = st.recursive(_nodes(st.just({})), _nodes, max_leaves=8)


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _delimited(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _shuffled(chunks: list[tuple[int, bytes]], rng: random.Random, free: frozenset[int]) -> bytes:
    """The chunks in a random order; those of one field keep theirs, unless it is a map (`free`)."""
    order = [field for field, _ in chunks]
    rng.shuffle(order)
    waiting: dict[int, list[bytes]] = {}
    for field, chunk in chunks:
        waiting.setdefault(field, []).append(chunk)
    for field in free & waiting.keys():
        rng.shuffle(waiting[field])
    return b"".join(waiting[field].pop(0) for field in order)


def _map(entries: dict[str, bytes], field: int, rng: random.Random) -> list[tuple[int, bytes]]:
    return [
        (
            field,
            _delimited(
                field,
                _shuffled([(1, _delimited(1, key.encode())), (2, _delimited(2, value))], rng, frozenset()),
            ),
        )
        for key, value in entries.items()
    ]


def _numbers(values: list[int], rng: random.Random) -> list[tuple[int, bytes]]:
    """Packed, or not, or in parts."""
    cut = rng.randint(0, len(values))
    packed = [(2, _delimited(2, b"".join(map(_varint, values[:cut]))))] if cut else []
    return packed + [(2, _number(2, value)) for value in values[cut:]]


def _struct(values: dict[str, str], rng: random.Random) -> bytes:
    entries = {key: _delimited(3, value.encode()) for key, value in values.items()}
    return _shuffled(_map(entries, 1, rng), rng, frozenset({1}))


def _any(url: str, value: Any, rng: random.Random) -> bytes:
    if url.endswith("Struct"):
        content = _struct(value, rng)
    else:
        # Nobody knows the order in what nobody knows: one encoding for that.
        content = encode(value, rng if url.endswith("Node") else random.Random(0))
    return _shuffled([(1, _delimited(1, url.encode())), (2, _delimited(2, content))], rng, frozenset())


def encode(tree: dict[str, Any], rng: random.Random) -> bytes:
    """One of the serializations of a message."""
    chunks: list[tuple[int, bytes]] = []
    for field, kind in FIELDS.items():
        value = tree.get(kind)
        if value is None:
            continue
        if kind == "number":
            chunks.append((field, _number(field, value)))
        elif kind == "numbers":
            chunks += _numbers(value, rng)
        elif kind in {"text", "texts"}:
            texts = [value] if kind == "text" else value
            chunks += [(field, _delimited(field, text.encode())) for text in texts]
        elif kind == "map":
            chunks += _map({key: encode(inner, rng) for key, inner in value.items()}, field, rng)
        elif kind == "any":
            chunks.append((field, _delimited(field, _any(*value, rng))))
        else:
            inners = [value] if kind == "sub" else value
            chunks += [(field, _delimited(field, encode(inner, rng))) for inner in inners]
    for field, values in tree.get("unknown", {}).items():
        chunks += [
            (field, _number(field, each) if isinstance(each, int) else _delimited(field, each))
            for each in values
        ]
    return _shuffled(chunks, rng, frozenset({5}))


def _without_any(tree: Any) -> Any:
    if isinstance(tree, list):
        return [_without_any(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    return {key: _without_any(value) for key, value in tree.items() if key != "any"}


# -- what must hold --------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(TREES, st.integers(), st.integers())
def test_every_order_of_a_message_has_one_digest(tree, one, other):
    first, second = encode(tree, random.Random(one)), encode(tree, random.Random(other))
    assert digest(first) == digest(second)
    plain = _without_any(tree)
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
    given = codec.submission(INFO, b"", "", task_pb2.TaskOptions(priority=1), DEFAULTS, "")
    assert given.request_digest == b""
    with_options = codec.submission(INFO, b"", "id", task_pb2.TaskOptions(priority=1), DEFAULTS, "")
    assert with_options.request_digest == digest(b"")


# -- bounds ----------------------------------------------------------------------------------------------------------


def test_any_within_any_ends():
    """Each level is a parse of its own: their depth is bounded here."""
    payload = encode({"number": 1}, random.Random(0))
    for _ in range(3000):
        payload = _delimited(
            8,
            _shuffled(
                [(1, _delimited(1, b"x/t.v1.Node")), (2, _delimited(2, payload))],
                random.Random(1),
                frozenset(),
            ),
        )
    assert digest(payload) == digest(payload)


@pytest.mark.parametrize("field", [50, 4], ids=["unknown", "known"])
def test_very_many_fields_do_not_hold_the_event_loop(field):
    rng = random.Random(3)
    chunks = [(field, _delimited(field, b"x"))] * (canonical.MAX_FIELDS + 1) + [(1, _number(1, 5))]
    began_s = time.process_time()
    digests = {digest(_shuffled(chunks, rng, frozenset())) for _ in range(2)}
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
    chunks = [(1, _number(1, 5)), (8, _delimited(8, form))]
    began_s = time.process_time()
    digests = {digest(b"".join(content for _, content in each)) for each in (chunks, chunks[::-1])}
    assert time.process_time() - began_s < 1.0
    assert len(digests) == 1


def test_very_many_any_do_not_hold_the_event_loop():
    packed = any_pb2.Any(type_url="type.googleapis.com/google.protobuf.Value").SerializeToString()
    form = _delimited(8, packed)
    subs = b"".join(_delimited(7, form) for _ in range(9000))
    began_s = time.process_time()
    assert digest(subs) != digest(subs + _number(1, 5))
    assert time.process_time() - began_s < 1.0


def test_a_request_that_is_any_has_one_form():
    forms = set()
    for names in ("ab", "ba"):
        entries = b"".join(_delimited(1, _delimited(1, name.encode()) + _delimited(2, b"")) for name in names)
        packed = any_pb2.Any(type_url="type.googleapis.com/google.protobuf.Struct", value=entries)
        forms.add(canonical.canonical_form(packed, ordered=False))
    assert len(forms) == 1
