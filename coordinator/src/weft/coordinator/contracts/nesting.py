"""Checks requests that nest deeper than Python's protobuf parser goes, and makes their canonical form, level by level.

The parser refuses more than 100 levels; parsers of other languages do not, and direct calls pass any depth. The parser does not
say why it refuses bytes, either. So refused bytes are split: of a message that the parser does not read as a whole, it reads
some fields, and the other messages in it are split in turn.

    request ─► { fields that the parser reads, messages that it does not read ─► { fields that it reads, … } }

The request is malformed if, at some level, the parser does not read the rest without those messages.
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
from weft.coordinator.contracts.required_fields import inner_are_complete, missing_own
from weft.rpc.contracts.descriptors import message_class

# Fields that are split, and bytes that are parsed again: some 100 ms at worst, on the event loop. A request with more goes
# unchecked, as in a direct call: its handler refuses it if it must.
MAX_FIELDS = 20_000
MAX_BYTES = 16 * 1024 * 1024


class _Part(NamedTuple):
    """One occurrence of a field that the parser does not read in all its occurrences."""

    kind: int
    # The unparsed field; or a parsed message; or a message that the parser does not read.
    content: memoryview | Message | _Level


class _Level:
    """A message that the parser does not read as a whole: its place and, once split, its content."""

    def __init__(self, message_type: Descriptor, start: int, end: int) -> None:
        self.type = message_type
        self.start, self.end = start, end
        # The fields that the parser reads.
        self.rest: Message
        # The other fields, by number.
        self.parts: Mapping[int, Sequence[_Part]] = {}
        self.form = b""


class DeepRequest:
    """A well-formed request that is too deep for the parser."""

    def __init__(self, payload: bytes, levels: Sequence[_Level]) -> None:
        self._payload = payload
        # Outer levels before inner ones; empty: the request is past the bound.
        self._levels = levels

    def read(self, path: Sequence[FieldDescriptor]) -> Any:
        """The value of the field at the end of a path through singular message fields.

        Only the fields of the path are parsed: they are never too deep.
        """
        # Without a bound: the bytes are well-formed, and each level is a part of the one before.
        work = wire.Work(len(self._payload), 0)
        form = self._payload
        *through, last = path
        for step in through:
            # A message that occurs several times is merged, which is the same as if its occurrences were one.
            parts = [f for f in wire.fields(form, 0, len(form), work) if f.number == step.number]
            form = b"".join(form[part.body : part.body_end] for part in parts)
            work = wire.Work(len(form), 0)
        own = [f for f in wire.fields(form, 0, len(form), work) if f.number == last.number]
        owner: Any = last.containing_type
        parsed = message_class(owner).FromString(b"".join(form[f.start : f.end] for f in own))
        return getattr(parsed, last.name)

    def form(self) -> bytes:
        """As `canonical_form`; of a request past the bound, its bytes."""
        work = bounded_work()
        try:
            for level in reversed(self._levels):
                level.form = _form(level, work)
        except (wire.TooMuch, wire.Malformed):
            return self._payload
        return self._levels[0].form if self._levels else self._payload


def read_deep(payload: bytes, message_type: Descriptor, *, has_required: bool) -> DeepRequest:
    """A request that the parser has refused.

    Args:
        has_required: the request or an inner message may have proto2 required fields.

    Raises:
        Malformed: depth is not the reason for the refusal.
    """
    reader = _Reader(payload, message_type.file.pool, has_required=has_required)
    levels = [_Level(message_type, 0, len(payload))]
    split = 0
    try:
        while split < len(levels):
            levels += reader.split(levels[split])
            split += 1
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

    def split(self, level: _Level) -> list[_Level]:
        """Split a message into fields; the inner messages that are still to be split.

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
        # A single inner message must be the one that the parser does not read: do not try it.
        made = {
            number: [self._part(field, known[number], ask=messages > 1) for field in found]
            for number, found in fields.items()
        }
        inner = [p.content for parts in made.values() for p in parts if isinstance(p.content, _Level)]
        # Without any, each inner message is as deep as the parser goes, and one level too deep in this one.
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
            missing = [name for name in missing_own(rest) if name not in elsewhere]
            whole = (
                p.content for made in level.parts.values() for p in made if isinstance(p.content, Message)
            )
            if (
                missing
                or not all(message.IsInitialized() for message in whole)
                or not inner_are_complete(rest)
            ):
                raise wire.Malformed
        return rest

    def _class(self, message_type: Descriptor) -> type[Message]:
        made = self._classes.get(message_type.full_name)
        if made is None:
            made = self._classes[message_type.full_name] = message_class(message_type)
        return made


def _message_type(field: wire.Field, known: FieldDescriptor | None) -> Descriptor | None:
    """The type of the message in a field; None: the field holds no message."""
    if known is None:
        return None
    kind = wire.GROUP if known.type == FieldDescriptor.TYPE_GROUP else wire.LENGTH
    return known.message_type if field.kind == kind else None


def _form(level: _Level, work: wire.Work) -> bytes:
    """The canonical form of a level; inner levels have theirs already."""
    forms = [_message_form(level.rest, work)]
    for number, parts in sorted(level.parts.items()):
        work.spend(len(parts))
        fields = [_part_form(number, part, work) for part in parts]
        known = level.type.fields_by_number.get(number)
        if known is not None and known.message_type is not None and known.message_type.GetOptions().map_entry:
            fields.sort()
        forms += fields
    form = b"".join(forms)
    # The form of an outer level contains those of the inner ones again.
    work.spend(0, len(form))
    return form


def _part_form(number: int, part: _Part, work: wire.Work) -> bytes:
    if isinstance(part.content, memoryview):
        return bytes(part.content)
    if isinstance(part.content, _Level):
        return wire.delimited(number, part.kind, part.content.form)
    return wire.delimited(number, part.kind, _message_form(part.content, work))


def _message_form(message: Message, work: wire.Work) -> bytes:
    # Not `ordered`: from some 60 levels on, that check does not see unknown fields.
    # Partial: the required fields that are elsewhere are not in it.
    return refined(message.SerializePartialToString(deterministic=True), message, work, ordered=False)
