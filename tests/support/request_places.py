"""The places of a request that have a text, from its descriptor: each field once, however deep it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

F = FieldDescriptor
DEPTH = 5

# Sets a text at one place of a request.
Place = Callable[[Message, str], None]


def places(kind: Any, seen: set[str], depth: int = 0) -> Iterator[tuple[str, Place]]:
    """Each text field within a message, once for each message that has it: its name, and what sets it."""
    if kind.full_name in seen or depth > DEPTH:
        return
    seen.add(kind.full_name)
    for field in kind.fields:
        if _is_map(field):
            yield f"{field.full_name}[]", _key_of(field)
        elif field.message_type is not None:
            for name, within in places(field.message_type, seen, depth + 1):
                yield name, _within(field, within)
        elif field.type == F.TYPE_STRING:
            yield field.full_name, _text_of(field)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _text_of(field: FieldDescriptor) -> Place:
    def put(message: Message, text: str) -> None:
        if field.is_repeated:
            del getattr(message, field.name)[:]
            getattr(message, field.name).append(text)
        else:
            setattr(message, field.name, text)

    return put


def _key_of(field: FieldDescriptor) -> Place:
    value = field.message_type.fields_by_name["value"]

    def put(message: Message, text: str) -> None:
        entries = getattr(message, field.name)
        if value.message_type is not None:
            entries[text].SetInParent()
        else:
            entries[text] = text if value.cpp_type == F.CPPTYPE_STRING else 1

    return put


def _within(field: FieldDescriptor, inner: Place) -> Place:
    def put(message: Message, text: str) -> None:
        part = getattr(message, field.name)
        if field.is_repeated:
            part = part[0] if part else part.add()
        inner(part, text)

    return put
