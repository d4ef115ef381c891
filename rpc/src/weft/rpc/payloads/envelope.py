"""The form of a coded payload: what it begins with, its header, its body. Light: whoever only tells coded payloads from others needs
no more.
"""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.message import DecodeError

from weft.rpc import refusals
from weft.rpc.payloads.payload_options import CODED_PREFIX
from weft.v1 import payload_pb2

_HEAD_BYTES = len(CODED_PREFIX) + 4
MAX_HEADER_BYTES = 16 * 1024


class Envelope(NamedTuple):
    """A coded payload, taken apart."""

    header: payload_pb2.PayloadHeader
    # All bytes before the body, which encryption authenticates.
    head: bytes
    body: bytes

    @property
    def plain(self) -> bool:
        """Whether the body is the message as it is."""
        header = self.header
        return not (header.codec or header.compression or header.key_id or header.HasField("stored"))

    def told(self) -> str:
        """How it is coded, in words, for errors and people."""
        header = self.header
        words = [
            header.codec,
            header.compression,
            f"AES-GCM with key {header.key_id}" if header.key_id else "",
        ]
        words.append("in a store of payloads" if header.HasField("stored") else "")
        return ", ".join(word for word in words if word) or "as it is"


def is_coded(payload: bytes) -> bool:
    """Whether a payload is a coded one."""
    return payload.startswith(CODED_PREFIX)


def head_of(header: payload_pb2.PayloadHeader) -> bytes:
    """What comes before the body."""
    serialized = header.SerializeToString(deterministic=True)
    return CODED_PREFIX + len(serialized).to_bytes(4, "big") + serialized


def opened(payload: bytes) -> Envelope:
    """A coded payload's header and body.

    Raises:
        DataLoss: it is damaged (PAYLOAD_CORRUPT).
    """
    size = int.from_bytes(payload[len(CODED_PREFIX) : _HEAD_BYTES], "big")
    end = _HEAD_BYTES + size
    if size > MAX_HEADER_BYTES or len(payload) < end:
        raise refusals.payload_corrupt("a coded payload has no whole header: it was cut or changed", "")
    try:
        header = payload_pb2.PayloadHeader.FromString(payload[_HEAD_BYTES:end])
    except DecodeError:
        raise refusals.payload_corrupt("the header of a coded payload does not parse", "") from None
    return Envelope(header, payload[:end], payload[end:])
