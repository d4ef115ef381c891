"""Messages of any type, filled from their descriptors: with any values that the wire allows, or with one text
everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from weft.rpc.contracts import descriptors

F = FieldDescriptor
_MOST_DEPTH = 4
_SIGNED = {F.CPPTYPE_INT32: 31, F.CPPTYPE_INT64: 63}
_UNSIGNED = {F.CPPTYPE_UINT32: 32, F.CPPTYPE_UINT64: 64}
# Names that an Any may give: right, unknown, and no names at all.
TYPE_URLS = (
    "type.googleapis.com/google.rpc.BadRequest",
    "type.googleapis.com/google.rpc.RetryInfo",
    "type.googleapis.com/google.protobuf.Value",
    "type.googleapis.com/google.protobuf.Any",
    "type.googleapis.com/google.protobuf.Duration",
    "x/no.Such",
    "/",
    "",
)


@st.composite
def filled(draw: st.DrawFn, message_class: type[Message]) -> Message:
    """A message of the class with any values that its fields can have on the wire."""
    message = message_class()
    _fill(message, draw, 0)
    return message


def _fill(message: Message, draw: st.DrawFn, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        if not draw(st.booleans()) or (depth > _MOST_DEPTH and field.message_type is not None):
            continue
        if field.full_name == "google.protobuf.Any.type_url":
            message.type_url = draw(st.sampled_from(TYPE_URLS))  # type: ignore[attr-defined]
        elif _is_map(field):
            _fill_map(message, field, draw, depth)
        elif field.message_type is not None:
            target = getattr(message, field.name)
            _fill(target.add() if field.is_repeated else target, draw, depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(_scalar(field), max_size=3)))
        else:
            setattr(message, field.name, draw(_scalar(field)))


def _fill_map(message: Message, field: FieldDescriptor, draw: st.DrawFn, depth: int) -> None:
    entries = getattr(message, field.name)
    of_key, of_value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
    key = draw(_scalar(of_key))
    if of_value.message_type is None:
        entries[key] = draw(_scalar(of_value))
    else:
        _fill(entries[key], draw, depth + 1)


def _scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if kind in _SIGNED:
        return st.integers(-(2 ** _SIGNED[kind]), 2 ** _SIGNED[kind] - 1)
    if kind in _UNSIGNED:
        return st.integers(0, 2 ** _UNSIGNED[kind] - 1)
    if kind == F.CPPTYPE_ENUM:
        # A closed enum takes only numbers with a name.
        named = st.sampled_from([value.number for value in field.enum_type.values])
        return named if field.enum_type.is_closed else named | st.integers(-(2**31), 2**31 - 1)
    if kind == F.CPPTYPE_BOOL:
        return st.booleans()
    if kind in (F.CPPTYPE_DOUBLE, F.CPPTYPE_FLOAT):
        return st.floats(width=32 if kind == F.CPPTYPE_FLOAT else 64)
    return st.binary(max_size=20) if field.type == F.TYPE_BYTES else st.text(max_size=10)


def with_text(
    message: Message, text: str, *, leave: Callable[[FieldDescriptor], bool], depth: int = 0
) -> Message:
    """Sets every string within to the text, but for fields that `leave` names; one item in each list and map."""
    for field in message.DESCRIPTOR.fields:
        if leave(field) or depth > _MOST_DEPTH:
            continue
        if _is_map(field):
            entries, of_value = getattr(message, field.name), field.message_type.fields_by_name["value"]
            if of_value.message_type is None and of_value.cpp_type == F.CPPTYPE_STRING:
                entries[text] = text
            elif of_value.message_type is None:
                entries[text] = 1
            else:
                with_text(entries[text], text, leave=leave, depth=depth + 1)
        elif field.message_type is not None:
            target = getattr(message, field.name)
            with_text(target.add() if field.is_repeated else target, text, leave=leave, depth=depth + 1)
        elif field.cpp_type == F.CPPTYPE_STRING and field.type != F.TYPE_BYTES:
            if field.is_repeated:
                getattr(message, field.name).append(text)
            else:
                setattr(message, field.name, text)
    return message


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def classes_of(*files: Any) -> list[type[Message]]:
    """The classes of all messages of generated modules."""
    found = [type_ for file in files for type_ in file.DESCRIPTOR.message_types_by_name.values()]
    return [descriptors.message_class(type_) for type_ in found]
