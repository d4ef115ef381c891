"""Values of steps and signals as bytes: JSON as it is; bytes and protobuf messages behind a mark that no JSON begins with. Pure."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from weft.rpc.errors import unpacked

_BYTES, _MESSAGE = b"\x00", b"\x01"


def encode(name: str, value: Any) -> bytes:
    """A value that a step may have.

    Raises:
        TypeError, ValueError: it is no JSON value, no bytes and no message; the message names the step.
    """
    if isinstance(value, bytes):
        return _BYTES + value
    if isinstance(value, Message):
        packed = any_pb2.Any()
        packed.Pack(value, deterministic=True)
        return _MESSAGE + packed.SerializeToString(deterministic=True)
    try:
        return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"the value of step {name!r} cannot be remembered ({error}): return JSON values, bytes or a protobuf message"
        ) from None


def decode(value: bytes) -> Any:
    """The value behind its bytes. Empty bytes are None: a signal without a value.

    Raises:
        ValueError: it is none of a step; or its message type is not imported here.
    """
    if not value:
        return None
    mark = value[:1]
    if mark == _BYTES:
        return value[1:]
    if mark == _MESSAGE:
        return _message(value[1:])
    try:
        return json.loads(value)
    except RecursionError:
        raise ValueError("a remembered value is nested too deeply") from None


def _message(serialized: bytes) -> Message:
    try:
        packed = any_pb2.Any.FromString(serialized)
        descriptor = descriptor_pool.Default().FindMessageTypeByName(packed.TypeName())
        message = unpacked(packed, message_factory.GetMessageClass(descriptor))
    except (DecodeError, KeyError) as error:
        raise ValueError(
            f"a remembered message cannot be read: import its ..._pb2 module ({error})"
        ) from None
    if message is None:
        raise ValueError("a remembered message is not of the type that it names")
    return message
