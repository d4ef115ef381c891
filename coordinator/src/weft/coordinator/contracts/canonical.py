"""The canonical form: the same bytes for all serializations of a request, so that a repeated request id knows its request.

Languages and runs write the same message differently: maps in any order, fields in any order, numbers packed or not. The
canonical form has the fields of each message by number and the entries of each map by key, also within `google.protobuf.Any`
if the contract has the type. Fields that the contract does not know are ordered by number; their content stays as it is, since
a map there looks like a list. Equal forms mean equal messages: two different requests never share a form.

protobuf's own deterministic serialization does most of this. Only messages with unknown fields, extensions or `Any` are ordered
here, field by field, up to a bound.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import any_pb2, descriptor_pool, struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from weft.coordinator.contracts import wire
from weft.rpc.contracts.descriptors import message_class

# Fields of one request that are ordered here, on the event loop: some 20 ms. A request with more keeps protobuf's form.
MAX_FIELDS = 20_000
# The size of these fields: some 100 ms. An inner message counts once for each message around it. A larger request keeps
# protobuf's form.
MAX_BYTES = 32 * 1024 * 1024
# An `Any` costs as much as this many fields.
_ANY_FIELDS = 50
# The depth to which messages are ordered. Parsing goes to 100, but begins anew within `Any`.
MAX_DEPTH = 200

_ANY = any_pb2.Any.DESCRIPTOR.full_name
# Types within `Any` that a contract need not have.
_WELL_KNOWN = frozenset(
    message.DESCRIPTOR.full_name for message in (struct_pb2.Struct, struct_pb2.Value, struct_pb2.ListValue)
)


def needs_ordering(message_type: Descriptor) -> bool:
    """Whether protobuf's form leaves parts of messages of this type in any order, unknown fields aside.

    For the type itself; ask for each inner type, too.
    """
    return message_type.full_name == _ANY or message_type.is_extendable


def bounded_work() -> wire.Work:
    """The bound for the form of one request."""
    return wire.Work(MAX_FIELDS, MAX_BYTES)


def canonical_form(message: Message, *, ordered: bool) -> bytes:
    """The canonical form of a message. The message is used up: its unknown fields are gone afterwards.

    Args:
        ordered: neither the message nor an inner one `needs_ordering`.
    """
    # Partial: nothing is checked again.
    form = message.SerializePartialToString(deterministic=True)
    try:
        return refined(form, message, bounded_work(), ordered=ordered)
    except (wire.TooMuch, wire.Malformed):
        # A repeat has the same fields, so it ends here too.
        return form


def refined(form: bytes, message: Message, work: wire.Work, *, ordered: bool) -> bytes:
    """The canonical form of a message, made from protobuf's deterministic form.

    Raises:
        TooMuch: the message is past the bound.
    """
    if ordered:
        size_bytes = message.ByteSize()
        message.DiscardUnknownFields()
        if message.ByteSize() == size_bytes:
            return form
    message_type = type_of(message)
    return _Ordering(message_type.file.pool, work).message(form, message_type, 0)


class _Ordering:
    """Orders the fields of messages that are in protobuf's deterministic form."""

    def __init__(self, pool: DescriptorPool, work: wire.Work) -> None:
        self._pool = pool
        self._work = work

    def message(self, form: bytes, message_type: Descriptor, depth: int) -> bytes:
        """A message of this type, which may be `Any`."""
        if message_type.full_name == _ANY:
            form = self._any(form, depth)
        return self._of(form, message_type, depth)

    def _of(self, form: bytes, message_type: Descriptor | None, depth: int) -> bytes:
        """The fields of one message by number; fields of the same number keep their order."""
        if depth >= MAX_DEPTH:
            return form
        self._work.spend(0, len(form))
        parts: list[tuple[int, bytes]] = []
        for field in wire.fields(form, 0, len(form), self._work):
            known = None
            if message_type is not None and field.kind == wire.LENGTH:
                known = field_of(self._pool, message_type, field.number)
            inner = None if known is None else known.message_type
            if inner is None:
                parts.append((field.number, form[field.start : field.end]))
            else:
                content = self.message(form[field.body : field.end], inner, depth + 1)
                parts.append((field.number, wire.delimited(field.number, wire.LENGTH, content)))
        parts.sort(key=lambda part: part[0])
        return b"".join(content for _, content in parts)

    def _any(self, form: bytes, depth: int) -> bytes:
        """An `Any` with its value in canonical form, if the type is known and the value parses."""
        self._work.spend(_ANY_FIELDS)
        try:
            packed = any_pb2.Any.FromString(form)
            name = packed.type_url.rpartition("/")[2]
            pool = descriptor_pool.Default() if name in _WELL_KNOWN else self._pool
            value = message_class(pool.FindMessageTypeByName(name)).FromString(packed.value)
        except (KeyError, DecodeError):
            # A contract may have another type of that name, too.
            return form
        value_form = value.SerializePartialToString(deterministic=True)
        # Counted before the inner messages: it is copied already.
        self._work.spend(0, len(value_form))
        packed.value = self.message(value_form, type_of(value), depth + 1)
        return packed.SerializeToString(deterministic=True)


def field_of(pool: DescriptorPool, message_type: Descriptor, number: int) -> FieldDescriptor | None:
    """The field or extension of this number; None: it is not known."""
    field: FieldDescriptor | None = message_type.fields_by_number.get(number)
    if field is None and message_type.is_extendable:
        try:
            field = pool.FindExtensionByNumber(message_type, number)
        except KeyError:
            return None
    return field


def type_of(message: Message) -> Descriptor:
    """The type of a message."""
    # The stub's type names both implementations of protobuf.
    found: Any = message.DESCRIPTOR
    return found  # type: ignore[no-any-return]
