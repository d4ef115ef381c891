"""Splits a serialized message into its fields: where each begins and ends. Without recursion, and with a bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, LENGTH, GROUP, GROUP_END, FIXED32 = range(6)
_MAX_VARINT_BYTES = 10
_MAX_TAG = (1 << 32) - 1


class Malformed(Exception):
    """The bytes are not a message."""


class TooMuch(Exception):
    """`Work` does not allow more."""


class Work:
    """The work that is still allowed, on the event loop.

    Args:
        fields: fields to split, including those in groups.
        size_bytes: bytes to copy or parse.
    """

    def __init__(self, fields: int, size_bytes: int) -> None:
        self._fields_left = fields
        self._bytes_left = size_bytes

    def spend(self, fields: int, size_bytes: int = 0) -> None:
        """Count this work.

        Raises:
            TooMuch: it is more than was left.
        """
        self._fields_left -= fields
        self._bytes_left -= size_bytes
        if self._fields_left < 0 or self._bytes_left < 0:
            raise TooMuch


class Field(NamedTuple):
    """One field: its content is at `body` to `body_end`, without tag, length or end tag."""

    number: int
    kind: int
    start: int
    body: int
    body_end: int
    end: int


def fields(form: bytes, start: int, end: int, work: Work) -> Iterator[Field]:
    """The fields of the message at `start` to `end`.

    Raises:
        Malformed: the bytes are not a message.
        TooMuch: more than `work` allows.
    """
    at = start
    while at < end:
        work.spend(1)
        began = at
        tag, at = _tag(form, at)
        body = at
        if tag & 7 == LENGTH:
            size, body = _varint(form, at)
            at = body_end = body + size
        elif tag & 7 == GROUP:
            body_end, at = _group(form, at, end, tag >> 3, work)
        else:
            at = body_end = _scalar(form, at, tag & 7)
        if at > end:
            raise Malformed
        yield Field(tag >> 3, tag & 7, began, body, body_end, at)


def _group(form: bytes, at: int, end: int, number: int, work: Work) -> tuple[int, int]:
    """Where a group's content ends, and where its end tag ends."""
    open_groups = [number]
    while at < end:
        work.spend(1)
        began = at
        tag, at = _tag(form, at)
        if tag & 7 == LENGTH:
            size, at = _varint(form, at)
            at += size
        elif tag & 7 == GROUP:
            open_groups.append(tag >> 3)
        elif tag & 7 == GROUP_END:
            if open_groups.pop() != tag >> 3:
                raise Malformed
            if not open_groups:
                return began, at
        else:
            at = _scalar(form, at, tag & 7)
    raise Malformed


def _scalar(form: bytes, at: int, kind: int) -> int:
    if kind == VARINT:
        return _varint(form, at)[1]
    if kind == FIXED64:
        return at + 8
    if kind == FIXED32:
        return at + 4
    raise Malformed


def _tag(form: bytes, at: int) -> tuple[int, int]:
    tag, at = _varint(form, at)
    if not 8 <= tag <= _MAX_TAG:
        raise Malformed
    return tag, at


def _varint(form: bytes, at: int) -> tuple[int, int]:
    value = 0
    try:
        for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
            byte = form[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
    except IndexError:
        pass
    raise Malformed


def varint(value: int) -> bytes:
    """A number in wire format."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def delimited(number: int, kind: int, content: bytes) -> bytes:
    """A field that holds a message, of kind LENGTH or GROUP."""
    if kind == GROUP:
        return varint(number << 3 | GROUP) + content + varint(number << 3 | GROUP_END)
    return varint(number << 3 | LENGTH) + varint(len(content)) + content
