"""Whether two versions of a method can read each other's messages: a pure comparison of descriptors.

During a rolling upgrade, callers, coordinators and agents of both versions exchange messages in both directions. So the
comparison is symmetrical. Only the wire format counts, not names or defaults; fields are matched by number. Fields may be added
and removed, but not proto2 required ones: the other side would refuse messages without them.

Source: protobuf.dev, "Updating a Message Type", narrowed where the guide allows a change that loses data (singular to
repeated, message to bytes).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from weft.rpc import refusals
from weft.rpc.contracts.descriptors import method_kind, method_name
from weft.v1 import fleet_pb2

# Types that read each other's encoding share a group.
_GROUPS: dict[int, str] = {
    FieldDescriptor.TYPE_INT32: "varint",
    FieldDescriptor.TYPE_UINT32: "varint",
    FieldDescriptor.TYPE_INT64: "varint",
    FieldDescriptor.TYPE_UINT64: "varint",
    FieldDescriptor.TYPE_BOOL: "varint",
    FieldDescriptor.TYPE_ENUM: "varint",
    FieldDescriptor.TYPE_SINT32: "zigzag",
    FieldDescriptor.TYPE_SINT64: "zigzag",
    FieldDescriptor.TYPE_FIXED32: "fixed32",
    FieldDescriptor.TYPE_SFIXED32: "fixed32",
    FieldDescriptor.TYPE_FIXED64: "fixed64",
    FieldDescriptor.TYPE_SFIXED64: "fixed64",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_STRING: "bytes",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_MESSAGE: "message",
    FieldDescriptor.TYPE_GROUP: "group",
}

_TYPE_NAMES = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}

_KIND_NAMES: dict[int, str] = {
    fleet_pb2.METHOD_KIND_UNARY: "unary",
    fleet_pb2.METHOD_KIND_SERVER_STREAMING: "server streaming",
    fleet_pb2.METHOD_KIND_CLIENT_STREAMING: "client streaming",
    fleet_pb2.METHOD_KIND_BIDI_STREAMING: "bidirectional streaming",
}


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """The first difference for which two versions of a method are incompatible."""

    # "pkg.Service/Method".
    method: str
    # Such as "AnalyzeRequest.options.depth"; empty for the method itself.
    field: str
    # The difference, in words.
    why: str

    def __str__(self) -> str:
        where = f"{self.method}, field {self.field}" if self.field else self.method
        return f"{where} is incompatible with the contract in force: {self.why}"


# Pairs of message types that are compatible, by the digest of the contract in force.
Compared = dict[str, set[tuple[str, str]]]


def check_compatible(
    in_force: MethodDescriptor, offered: MethodDescriptor, compared: set[tuple[str, str]]
) -> None:
    """Raises:
    FailedPrecondition: the two versions of a method are incompatible (CONTRACT_INCOMPATIBLE).
    """
    found = find_incompatibility(in_force, offered, compared)
    if found is not None:
        raise refusals.contract_incompatible(
            f"{found}; a changed method needs a new name or package version",
            method=found.method,
            field=found.field,
        )


def find_incompatibility(
    in_force: MethodDescriptor, offered: MethodDescriptor, compared: set[tuple[str, str]]
) -> Incompatibility | None:
    """Why agents of `offered` cannot serve callers of `in_force`, or the other way round; None: they can.

    Args:
        compared: pairs of message types of these two contracts that are compatible; those of this method are added. Methods
            share most of their messages: with one set for all methods, each pair is compared once.
    """
    name = method_name(in_force)
    if (kind := method_kind(offered)) != method_kind(in_force):
        return Incompatibility(
            name, "", f"it is {_KIND_NAMES[kind]}, was {_KIND_NAMES[method_kind(in_force)]}"
        )
    for old, new in (
        (in_force.input_type, offered.input_type),
        (in_force.output_type, offered.output_type),
    ):
        if found := _compare_messages(old, new, compared):
            return Incompatibility(name, *found)
    return None


def _compare_messages(
    old_root: Descriptor, new_root: Descriptor, compared: set[tuple[str, str]]
) -> tuple[str, str] | None:
    """The path and fault of the nearest field that differs, breadth first: types may nest deeply and in cycles."""
    waiting = deque([(old_root, new_root, old_root.name)])
    while waiting:
        old, new, path = waiting.popleft()
        pair = (old.full_name, new.full_name)
        if pair in compared:
            continue
        compared.add(pair)
        for number in sorted({*old.fields_by_number, *new.fields_by_number}):
            was, now = old.fields_by_number.get(number), new.fields_by_number.get(number)
            field = was or now
            assert field is not None
            field_path = f"{path}.{field.name}"
            if why := _compare_fields(was, now):
                return field_path, why
            if was and now and was.message_type and now.message_type:
                waiting.append((was.message_type, now.message_type, field_path))
    return None


def _compare_fields(was: FieldDescriptor | None, now: FieldDescriptor | None) -> str:
    """The difference between two fields of one number, either of which may be missing; empty: compatible."""
    if bool(was and was.is_required) != bool(now and now.is_required):
        return "it is required, was not" if now and now.is_required else "it was required, is not"
    if was is None or now is None:
        return ""
    if was.is_repeated != now.is_repeated or _GROUPS[was.type] != _GROUPS[now.type]:
        return f"it is {_describe(now)}, was {_describe(was)} (number {was.number})"
    return ""


def _describe(field: FieldDescriptor) -> str:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return "a map"
    kind = message.full_name if message is not None else _TYPE_NAMES[field.type]
    if field.type == FieldDescriptor.TYPE_GROUP:
        kind = f"group {kind}"
    return f"repeated {kind}" if field.is_repeated else kind
