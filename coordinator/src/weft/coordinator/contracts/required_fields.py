"""Which required fields (proto2) of a message are not set.

protobuf names them itself, but its Python library ends the process where one is missing within a map with a key that is not UTF-8:
neither `FindInitializationErrors` nor `SerializeToString` may be called for an incomplete message of a stranger.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from weft.coordinator.contracts.canonical import type_of

# Names in an error, and messages that are looked at for them.
_NAMED = 10
_LOOKED_AT = 1000


def missing_own(message: Any) -> list[str]:
    """The names of the message's own required fields that are not set."""
    return [
        field.name
        for field in message.DESCRIPTOR.fields
        # With features of editions a list may be called required.
        if field.is_required and not field.is_repeated and not message.HasField(field.name)
    ]


def inner_are_complete(message: Any) -> bool:
    """Whether all messages within a message have their required fields. Those of maps that cannot be read count as complete."""
    return all(each.IsInitialized() for _, each in _inner(message))


def missing_fields(message: Message) -> str:
    """The paths of required fields that are not set, as far as they are found quickly."""
    named = list(itertools.islice(_paths(message), _NAMED))
    told = f": {', '.join(named)}" if named else ""
    return f"{type_of(message).full_name} is missing required fields{told}"


def _paths(message: Message) -> Iterator[str]:
    waiting: list[tuple[str, Any]] = [("", message)]
    for path, current in itertools.islice(waiting, _LOOKED_AT):  # it grows during the loop
        yield from (f"{path}{name}" for name in missing_own(current))
        if len(waiting) < _LOOKED_AT:
            waiting += (
                (f"{path}{name}.", each) for name, each in _inner(current) if not each.IsInitialized()
            )


def _inner(message: Any) -> Iterator[tuple[str, Any]]:
    """The messages that a message holds, with their places in it."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if not field.is_repeated:
            yield field.name, value
        elif not field.message_type.GetOptions().map_entry:
            yield from ((f"{field.name}[{number}]", each) for number, each in enumerate(value))
        elif field.message_type.fields_by_name["value"].message_type is not None:
            yield from _of_map(field.name, value)


def _of_map(name: str, entries: Any) -> Iterator[tuple[str, Any]]:
    try:
        yield from [(f"{name}[{key!r}]", entries[key]) for key in entries]
    except UnicodeDecodeError:
        # Python reads no entry whose key is not UTF-8.
        return
