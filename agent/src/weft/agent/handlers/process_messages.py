"""What isolated processes tell their agent, as bytes: JSON, and after it the bytes of the message, if it has some.

No pickles this way: the code in such a process may be hostile, and who reads a pickle runs what it says.
"""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from typing import Any

from weft.rpc import bounded_json

# Beside the payload: an outcome has headers, trailers and details, too.
BESIDE_BYTES = 1 << 20


class BadMessage(Exception):
    """What came is no message."""


def encode(message: tuple[Any, ...]) -> bytes:
    """A message of JSON's values, but for one that may be bytes."""
    payloads = [each for each in message if isinstance(each, bytes)]
    head = [None if isinstance(each, bytes) else each for each in message]
    text = json.dumps(head, default=str, separators=(",", ":")).encode()
    return text + b"\n" + (payloads[0] if payloads else b"")


def decode(data: bytes) -> tuple[Any, ...]:
    """The message; null of JSON is the bytes.

    Raises:
        BadMessage: it is none.
    """
    text, newline, payload = data.partition(b"\n")
    try:
        head = bounded_json.loads(text)
    except ValueError:
        raise BadMessage("no JSON") from None
    if not newline or not isinstance(head, list):
        raise BadMessage("no list with bytes after it")
    return tuple(payload if each is None else each for each in head)


def receive(pipe: Connection[Any, Any], most_bytes: int) -> tuple[Any, ...]:
    """The next message.

    Args:
        most_bytes: of its payload.

    Raises:
        EOFError, OSError: the pipe has broken, or the message is larger.
        BadMessage: it is none.
    """
    return decode(pipe.recv_bytes(most_bytes + BESIDE_BYTES))
