"""A message as a tree of Python values, its serializations in random wire orders, and the digest of one.

The encoder is the tests' own, as `wire_format`.
"""

from __future__ import annotations

import random
from typing import Any

import hypothesis.strategies as st
from google.protobuf import any_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from tests.support.schema import METHOD, file, file_set
from tests.support.wire_format import delimited, number, varint
from weft.coordinator import codec
from weft.coordinator.contracts.contract_catalogue import Contract
from weft.coordinator.contracts.method_info import MethodInfo

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
    return codec.submission(info, payload, "id", None, None, DEFAULTS, "").request_digest


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


def shuffled(chunks: list[tuple[int, bytes]], rng: random.Random, free: frozenset[int]) -> bytes:
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
            delimited(
                field,
                shuffled([(1, delimited(1, key.encode())), (2, delimited(2, value))], rng, frozenset()),
            ),
        )
        for key, value in entries.items()
    ]


def _numbers(values: list[int], rng: random.Random) -> list[tuple[int, bytes]]:
    """Packed, or not, or in parts."""
    cut = rng.randint(0, len(values))
    packed = [(2, delimited(2, b"".join(map(varint, values[:cut]))))] if cut else []
    return packed + [(2, number(2, value)) for value in values[cut:]]


def _struct(values: dict[str, str], rng: random.Random) -> bytes:
    entries = {key: delimited(3, value.encode()) for key, value in values.items()}
    return shuffled(_map(entries, 1, rng), rng, frozenset({1}))


def _any(url: str, value: Any, rng: random.Random) -> bytes:
    if url.endswith("Struct"):
        content = _struct(value, rng)
    else:
        # Nobody knows the order in what nobody knows: one encoding for that.
        content = encode(value, rng if url.endswith("Node") else random.Random(0))
    return shuffled([(1, delimited(1, url.encode())), (2, delimited(2, content))], rng, frozenset())


def encode(tree: dict[str, Any], rng: random.Random) -> bytes:
    """One of the serializations of a message."""
    chunks: list[tuple[int, bytes]] = []
    for field, kind in FIELDS.items():
        value = tree.get(kind)
        if value is None:
            continue
        if kind == "number":
            chunks.append((field, number(field, value)))
        elif kind == "numbers":
            chunks += _numbers(value, rng)
        elif kind in {"text", "texts"}:
            texts = [value] if kind == "text" else value
            chunks += [(field, delimited(field, text.encode())) for text in texts]
        elif kind == "map":
            chunks += _map({key: encode(inner, rng) for key, inner in value.items()}, field, rng)
        elif kind == "any":
            chunks.append((field, delimited(field, _any(*value, rng))))
        else:
            inners = [value] if kind == "sub" else value
            chunks += [(field, delimited(field, encode(inner, rng))) for inner in inners]
    for field, values in tree.get("unknown", {}).items():
        chunks += [
            (field, number(field, each) if isinstance(each, int) else delimited(field, each))
            for each in values
        ]
    return shuffled(chunks, rng, frozenset({5}))


def without_any(tree: Any) -> Any:
    if isinstance(tree, list):
        return [without_any(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    return {key: without_any(value) for key, value in tree.items() if key != "any"}
