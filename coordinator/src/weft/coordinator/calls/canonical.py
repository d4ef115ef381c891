"""One form of bytes for all serializations of a request, by which a repeated request id knows its request.

Languages and runs write the same message differently: maps in any order, fields in any order, numbers packed or not. The
form has the fields of each message by number and the entries of each map by key, also within `google.protobuf.Any` where
the contract has the type. Fields that the contract does not know are ordered by number; what is inside them is not looked
at, for nobody can tell a map from a list there. Equal forms are equal messages, so two different requests never share one.

protobuf's own deterministic serialization does most of it. Only messages with unknown fields, extensions or `Any` are gone
through here, field by field, up to a bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import any_pb2, descriptor_pool, struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from weft.rpc.contracts.descriptors import message_class

# Fields of one request that are ordered one by one, on the event loop: some 20 ms. A request with more keeps protobuf's form.
MAX_FIELDS = 20_000
# What these fields take, those of an inner message once more for each one that it is in: some 100 ms. As for more fields.
MAX_BYTES = 32 * 1024 * 1024
# One `Any` costs as much as so many fields.
_ANY_FIELDS = 50
# How deep messages are gone into: parsing one goes no deeper than 100, but one within `Any` begins anew.
MAX_DEPTH = 200

_ANY = any_pb2.Any.DESCRIPTOR.full_name
# Types within `Any` that a contract need not have.
_WELL_KNOWN = frozenset(
    message.DESCRIPTOR.full_name for message in (struct_pb2.Struct, struct_pb2.Value, struct_pb2.ListValue)
)
_GROUP_START, _GROUP_END = 3, 4


def needs_ordering(message_type: Descriptor) -> bool:
    """Whether messages of this type can hold what protobuf's form leaves in any order, unknown fields aside.

    Of the type itself: for those within it, ask for each.
    """
    return message_type.full_name == _ANY or message_type.is_extendable


def canonical_form(message: Message, *, ordered: bool) -> bytes:
    """The form of a message. It is used up: its unknown fields are gone afterwards.

    Args:
        ordered: no message within it, itself included, `needs_ordering`.
    """
    form = message.SerializeToString(deterministic=True)
    if ordered:
        size_bytes = message.ByteSize()
        message.DiscardUnknownFields()
        if message.ByteSize() == size_bytes:
            return form
    try:
        message_type = _type_of(message)
        return _Ordering(message_type.file.pool).message(form, message_type, 0)
    except _TooMany:
        return form


class _TooMany(Exception):
    """The message has more than MAX_FIELDS or MAX_BYTES. It has in whatever order, so the form is the same all the same."""


class _Ordering:
    """Orders the fields of serialized messages, as protobuf's deterministic form has them."""

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool
        self._fields_left = MAX_FIELDS
        self._bytes_left = MAX_BYTES

    def message(self, form: bytes, message_type: Descriptor, depth: int) -> bytes:
        """A message of this type, which may be `Any`."""
        if message_type.full_name == _ANY:
            form = self._any(form, depth)
        return self._of(form, message_type, depth)

    def _of(self, form: bytes, message_type: Descriptor | None, depth: int) -> bytes:
        """The fields of one message by number; those of one number stay as they are."""
        if depth >= MAX_DEPTH:
            return form
        self._spend(0, len(form))
        parts: list[tuple[int, bytes]] = []
        for number, start, body, end in _fields(form):
            self._spend(1)
            inner = None if message_type is None or body is None else self._inner(message_type, number)
            if inner is None:
                parts.append((number, form[start:end]))
            else:
                content = self.message(form[body:end], inner, depth + 1)
                parts.append((number, _varint(number << 3 | 2) + _varint(len(content)) + content))
        parts.sort(key=lambda part: part[0])
        return b"".join(content for _, content in parts)

    def _inner(self, message_type: Descriptor, number: int) -> Descriptor | None:
        """The message type of a length-delimited field; None: it is no message, or not known."""
        field: FieldDescriptor | None = message_type.fields_by_number.get(number)
        if field is None and message_type.is_extendable:
            try:
                field = self._pool.FindExtensionByNumber(message_type, number)
            except KeyError:
                return None
        return None if field is None else field.message_type

    def _spend(self, fields: int, size_bytes: int = 0) -> None:
        self._fields_left -= fields
        self._bytes_left -= size_bytes
        if self._fields_left < 0 or self._bytes_left < 0:
            raise _TooMany

    def _any(self, form: bytes, depth: int) -> bytes:
        """An `Any` whose value has its own form, if its type is known and it parses as that."""
        self._spend(_ANY_FIELDS)
        packed = any_pb2.Any.FromString(form)
        name = packed.type_url.rpartition("/")[2]
        pool = descriptor_pool.Default() if name in _WELL_KNOWN else self._pool
        try:
            value = message_class(pool.FindMessageTypeByName(name)).FromString(packed.value)
        except (KeyError, DecodeError):
            return form
        value_form = value.SerializeToString(deterministic=True)
        # Before what is within it does: it has been copied already.
        self._spend(0, len(value_form))
        packed.value = self.message(value_form, _type_of(value), depth + 1)
        return packed.SerializeToString(deterministic=True)


def _type_of(message: Message) -> Descriptor:
    # Its stub names protobuf's two implementations.
    found: Any = message.DESCRIPTOR
    return found  # type: ignore[no-any-return]


def _fields(form: bytes) -> Iterator[tuple[int, int, int | None, int]]:
    """Number, start, start of the content (None: not length-delimited) and end of each field of a well-formed message."""
    at = 0
    while at < len(form):
        start = at
        tag, at = _read_varint(form, at)
        if tag & 7 == 2:
            size, body = _read_varint(form, at)
            at = body + size
            yield tag >> 3, start, body, at
        else:
            at = _skip(form, at, tag)
            yield tag >> 3, start, None, at


def _skip(form: bytes, at: int, tag: int) -> int:
    """The end of a field that is not length-delimited; a group's is behind its end tag."""
    open_groups = 0
    while True:
        kind = tag & 7
        if kind == 0:
            _, at = _read_varint(form, at)
        elif kind == 1:
            at += 8
        elif kind == 2:
            size, at = _read_varint(form, at)
            at += size
        elif kind == _GROUP_START:
            open_groups += 1
        elif kind == _GROUP_END:
            open_groups -= 1
        else:
            at += 4
        if not open_groups:
            return at
        tag, at = _read_varint(form, at)


def _read_varint(form: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = form[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
