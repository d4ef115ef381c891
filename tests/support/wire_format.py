"""Fields in protobuf's wire format. The encoder is the tests' own: it knows nothing of the code that it checks."""

from __future__ import annotations


def varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def delimited(field: int, content: bytes) -> bytes:
    """A message, text or bytes."""
    return varint(field << 3 | 2) + varint(len(content)) + content
