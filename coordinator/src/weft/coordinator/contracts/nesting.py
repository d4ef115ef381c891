"""Requests that nest deeper than protobuf's parser here goes: checked, and given their canonical form, level by level.

The parser ends at 100 messages within each other, those of other languages do not, and a direct call passes whatever its
handler takes. It does not say why it refuses bytes, either. So bytes that it refuses are taken apart: a message that it
does not read as a whole has fields that it reads, and messages that are looked at in turn.

    request ─► { what the parser reads of it, messages that it does not read ─► { what it reads, … } }

It is malformed if, at some level, what is left without those messages is not read either.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from weft.coordinator.contracts import wire
from weft.coordinator.contracts.canonical import bounded_work, field_of, refined
from weft.rpc.contracts.descriptors import message_class

# Fields that are told apart, and bytes that are given to the parser once more: some 100 ms at worst, on the event loop. Of a
# request with more the rest goes unchecked, as in a direct call: its handler is the one to refuse it.
MAX_FIELDS = 20_000
MAX_BYTES = 16 * 1024 * 1024


class _Part(NamedTuple):
    """One occurrence of a field that the parser does not read everywhere."""

    kind: int
    # The whole field as it is; or a message that the parser reads; or one that it does not.
    content: memoryview | Message | _Level


class _Level:
    """A message that the parser does not read as a whole: where it is, and what it has, once that is looked at."""

    def __init__(self, message_type: Descriptor, start: int, end: int) -> None:
        self.type = message_type
        self.start, self.end = start, end
        # What the parser reads of it.
        self.rest: Message
        # By number, what it does not.
        self.parts: Mapping[int, Sequence[_Part]] = {}
        self.form = b""


class DeepRequest:
    """A well-formed request that the parser does not read."""

    def __init__(self, payload: bytes, levels: Sequence[_Level]) -> None:
        self._payload = payload
        # Each before those within it; none: more than may be looked at.
        self._levels = levels

    def form(self) -> bytes:
        """As `canonical_form`; of a request that is more than may be looked at, its bytes."""
        work = bounded_work()
        try:
            for level in reversed(self._levels):
                level.form = _form(level, work)
        except wire.TooMuch:
            return self._payload
        return self._levels[0].form if self._levels else self._payload


def read_deep(payload: bytes, message_type: Descriptor, *, has_required: bool) -> DeepRequest:
    """A request that the parser has refused.

    Args:
        has_required: messages within it may have proto2 required fields.

    Raises:
        Malformed: not because it is too deep.
    """
    reader = _Reader(payload, message_type.file.pool, has_required=has_required)
    levels = [_Level(message_type, 0, len(payload))]
    looked_at = 0
    try:
        while looked_at < len(levels):
            levels += reader.look(levels[looked_at])
            looked_at += 1
    except wire.TooMuch:
        levels = []
    return DeepRequest(payload, levels)


class _Reader:
    def __init__(self, payload: bytes, pool: DescriptorPool, *, has_required: bool) -> None:
        self._payload = payload
        self._view = memoryview(payload)
        self._pool = pool
        self._has_required = has_required
        self._work = wire.Work(MAX_FIELDS, MAX_BYTES)
        self._classes: dict[str, type[Message]] = {}

    def look(self, level: _Level) -> list[_Level]:
        """Take a message apart; gives those in it that are still to be looked at.

        Raises:
            Malformed, TooMuch
        """
        fields: dict[int, list[wire.Field]] = defaultdict(list)
        for field in wire.fields(self._payload, level.start, level.end, self._work):
            fields[field.number].append(field)
        known = {number: field_of(self._pool, level.type, number) for number in fields}
        messages = sum(
            _message_type(each, known[each.number]) is not None for found in fields.values() for each in found
        )
        # A single message must be what the parser does not read: it is not asked.
        made = {
            number: [self._part(field, known[number], ask=messages > 1) for field in found]
            for number, found in fields.items()
        }
        inner = [p.content for parts in made.values() for p in parts if isinstance(p.content, _Level)]
        # Without any, each message within ends just where the parser does, and is one too deep in this one.
        apart: type[object] = _Level if inner else Message
        level.parts = {
            number: parts
            for number, parts in made.items()
            if any(isinstance(part.content, apart) or part.kind == wire.GROUP for part in parts)
        }
        rest = [
            self._view[field.start : field.end]
            for number, found in fields.items()
            if number not in level.parts
            for field in found
        ]
        level.rest = self._rest(level, b"".join(rest))
        return inner

    def _part(self, field: wire.Field, known: FieldDescriptor | None, *, ask: bool) -> _Part:
        content: memoryview | Message | _Level = self._view[field.start : field.end]
        message_type = _message_type(field, known)
        if message_type is not None:
            content = _Level(message_type, field.body, field.body_end)
            if ask:
                self._work.spend(0, field.body_end - field.body)
                with contextlib.suppress(DecodeError):
                    body = self._payload[field.body : field.body_end]
                    content = self._class(message_type).FromString(body)
        return _Part(field.kind, content)

    def _rest(self, level: _Level, fields: bytes) -> Message:
        try:
            rest = self._class(level.type).FromString(fields)
        except DecodeError:
            raise wire.Malformed from None
        if self._has_required:
            elsewhere = {
                level.type.fields_by_number[n].name for n in level.parts if n in level.type.fields_by_number
            }
            missing = [name for name in _missing(rest) if name not in elsewhere]
            whole = (
                p.content for made in level.parts.values() for p in made if isinstance(p.content, Message)
            )
            if missing or not all(message.IsInitialized() for message in whole):
                raise wire.Malformed
        return rest

    def _class(self, message_type: Descriptor) -> type[Message]:
        made = self._classes.get(message_type.full_name)
        if made is None:
            made = self._classes[message_type.full_name] = message_class(message_type)
        return made


def _message_type(field: wire.Field, known: FieldDescriptor | None) -> Descriptor | None:
    """The type of the message in a field; None: there is none, as far as the parser knows."""
    if known is None:
        return None
    kind = wire.GROUP if known.type == FieldDescriptor.TYPE_GROUP else wire.LENGTH
    return known.message_type if field.kind == kind else None


def _missing(message: Any) -> list[str]:
    """Required fields that are not set, as paths."""
    found: list[str] = message.FindInitializationErrors()
    return found


def _form(level: _Level, work: wire.Work) -> bytes:
    """A serialization of the message that equal ones have in common; those within it have theirs."""
    forms = [_message_form(level.rest, work)]
    for number, parts in sorted(level.parts.items()):
        work.spend(len(parts))
        fields = [_part_form(number, part, work) for part in parts]
        known = level.type.fields_by_number.get(number)
        if known is not None and known.message_type is not None and known.message_type.GetOptions().map_entry:
            fields.sort()
        forms += fields
    form = b"".join(forms)
    # An outer one has all inner ones in it once more.
    work.spend(0, len(form))
    return form


def _part_form(number: int, part: _Part, work: wire.Work) -> bytes:
    if isinstance(part.content, memoryview):
        return bytes(part.content)
    if isinstance(part.content, _Level):
        return wire.delimited(number, part.kind, part.content.form)
    return wire.delimited(number, part.kind, _message_form(part.content, work))


def _message_form(message: Message, work: wire.Work) -> bytes:
    # Not `ordered`: unknown fields are not seen by that from some 60 levels on.
    return refined(message.SerializeToString(deterministic=True), message, work, ordered=False)
