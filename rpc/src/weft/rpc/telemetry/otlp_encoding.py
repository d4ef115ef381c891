"""Encodes spans as OTLP's messages, by hand: an eighth of the time that messages made one by one would take.

What spans share (`SpanShape`) is encoded once. The fields are those of opentelemetry/proto/trace/v1/trace.proto; a test compares the
bytes with what the SDK's encoder makes of the same spans. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache

from weft.rpc.telemetry import attributes
from weft.rpc.telemetry.span_records import Attributes, SpanEvent, SpanLink, SpanRecord, SpanShape, Value

# fixed64, double, and the two times and the id of a span with their tags.
_FIXED64 = struct.Struct("<Q")
_DOUBLE = struct.Struct("<d")
_TIMES_AND_ID = struct.Struct("<BQBQ2s8s")
times_and_id = _TIMES_AND_ID.pack
_START_TAG, _END_TAG = 7 << 3 | 1, 8 << 3 | 1
# `flags`, which says whether the parent is of another process: it is, if there is one.
_FLAGS = struct.Struct("<BBI")
_ROOT = _FLAGS.pack(0x85, 1, 0x100)
_REMOTE = _FLAGS.pack(0x85, 1, 0x300)
_ERROR = 2
# Trace id and span id with their tags and lengths.
_TRACE_TAG, _SPAN_TAG, _PARENT_TAG = b"\x0a\x10", b"\x12\x08", b"\x22\x08"
_KEYS = 1024
_PLACES = 4096
# Attributes whose bytes are kept, and the longest of them: a program's own may have a new value in each span.
_KEPT = 8192
_KEPT_BYTES = 256
_kept: dict[tuple[str, Value], tuple[type, bytes]] = {}
fromhex = bytes.fromhex
_IDS = frozenset({attributes.MESSAGING_MESSAGE_ID, attributes.TASK_ID})


def varint(number: int) -> bytes:
    """A number in base 128, as protobuf writes it; a negative one in ten bytes."""
    number &= 0xFFFF_FFFF_FFFF_FFFF
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def sized(number: int, data: bytes) -> bytes:
    """A field of bytes."""
    size = len(data)
    if number < 16 and size < 0x80:
        return bytes((number << 3 | 2, size)) + data
    if number < 16 and size < 0x4000:
        return bytes((number << 3 | 2, size & 0x7F | 0x80, size >> 7)) + data
    return varint(number << 3 | 2) + varint(size) + data


def text(number: int, value: str) -> bytes:
    # Lone surrogates cannot be sent.
    return sized(number, value.encode(errors="replace"))


def request(resource: bytes, scope: bytes, spans: Iterable[bytes]) -> bytes:
    """An ExportTraceServiceRequest.

    Args:
        resource: a serialized Resource.
        scope: a serialized InstrumentationScope.
        spans: serialized spans as `span` makes them.
    """
    of_scope = sized(1, scope) + b"".join(spans)
    return sized(1, sized(1, resource) + sized(2, of_scope))


def span(record: SpanRecord, *, framed: bool = True) -> bytes:
    """A serialized Span, as a field of the message that holds it: those of several spans may be joined. Times and id are its end."""
    # One function, because each task has several spans.
    shape = record.shape
    encoded = shape.encoded
    if not encoded:
        encoded.append(_shape(shape))
    parts = [_place(record.trace_id, record.parent_id), encoded[0]]
    for item in record.attributes.items():
        key, value = item
        if key in _IDS and type(value) is str:
            # Used once, while the other values come again and again.
            data = value.encode(errors="replace")
            parts += (_before_text(key, len(data)), data)
        elif (kept := _kept.get(item)) is not None and kept[0] is type(value):
            parts.append(kept[1])
        else:
            parts.append(_keep(item))
    if record.events:
        parts += [sized(11, _event(event)) for event in record.events]
    if record.links:
        parts += [sized(13, _link(link)) for link in record.links]
    if record.trace_state:
        parts.append(text(3, record.trace_state))
    if record.failed:
        message = text(2, record.error) if record.error else b""
        parts.append(sized(15, message + bytes((3 << 3, _ERROR))))
    parts.append(
        times_and_id(_START_TAG, record.start_ns, _END_TAG, record.end_ns, _SPAN_TAG, fromhex(record.span_id))
    )
    data = b"".join(parts)
    size = len(data)
    if framed and 0x80 <= size < 0x4000:
        # Nearly always.
        return bytes((2 << 3 | 2, size & 0x7F | 0x80, size >> 7)) + data
    return sized(2, data) if framed else data


def alike(record: SpanRecord, key: str, length: int) -> tuple[bytes, bytes]:
    """Spans that differ from this one only in times and id, and in one more attribute, an ASCII text of this length: what comes before
    `tail`, and between that and the text."""
    before_times = span(record, framed=False)[: -_TIMES_AND_ID.size]
    between = _before_text(key, length)
    size = len(before_times) + _TIMES_AND_ID.size + len(between) + length
    return b"\x12" + varint(size) + before_times, between


def tail(start_ns: int, end_ns: int, span_id: bytes) -> bytes:
    """Times and id of a span."""
    return times_and_id(_START_TAG, start_ns, _END_TAG, end_ns, _SPAN_TAG, span_id)


@lru_cache(_KEYS)
def _before_text(key: str, size: int) -> bytes:
    """An attribute with a text of this size, without the text."""
    made = _attribute(9, key, "0" * size)
    return made[: len(made) - size]


@lru_cache(_PLACES)
def _place(trace_id: str, parent_id: str) -> bytes:
    """Trace and parent, which tasks have in common that are submitted together."""
    of_parent = _PARENT_TAG + fromhex(parent_id) + _REMOTE if parent_id else _ROOT
    return _TRACE_TAG + fromhex(trace_id) + of_parent


def _shape(shape: SpanShape) -> bytes:
    return text(5, shape.name) + bytes((6 << 3, shape.kind)) + _attributes(9, shape.attributes)


def _attributes(number: int, given: Attributes) -> bytes:
    return b"".join([_attribute(number, key, value) for key, value in given.items()])


def _attribute(number: int, key: str, value: Value) -> bytes:
    head = _key(key)
    # Most are short texts: one step in place of four.
    if type(value) is str:
        data = value.encode(errors="replace")
        size, whole = len(data), len(head) + len(data) + 4
        if whole < 0x80:
            return bytes((number << 3 | 2, whole)) + head + bytes((0x12, size + 2, 0x0A, size)) + data
    return sized(number, head + sized(2, _any(value)))


def _keep(item: tuple[str, Value]) -> bytes:
    """Encode an attribute and keep its bytes. With their type: True is 1, and 1 is 1.0."""
    made = _attribute(9, *item)
    if len(made) <= _KEPT_BYTES:
        if len(_kept) >= _KEPT:
            _kept.clear()
        _kept[item] = type(item[1]), made
    return made


@lru_cache(_KEYS)
def _key(key: str) -> bytes:
    return text(1, key)


def _any(value: Value) -> bytes:
    """A serialized AnyValue."""
    if isinstance(value, str):
        return text(1, value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + varint(value)
    if isinstance(value, float):
        return b"\x21" + _DOUBLE.pack(value)
    return sized(5, b"".join([sized(1, _any(each)) for each in value]))


def _event(event: SpanEvent) -> bytes:
    return b"\x09" + _FIXED64.pack(event.at_ns) + text(2, event.name) + _attributes(3, event.attributes)


def _link(link: SpanLink) -> bytes:
    return b"".join(
        (
            _TRACE_TAG,
            bytes.fromhex(link.trace_id),
            _SPAN_TAG,
            bytes.fromhex(link.span_id),
            b"\x35\x00\x03\x00\x00",
        )
    )
