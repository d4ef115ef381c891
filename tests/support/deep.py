"""Messages that nest deeper than protobuf's parser goes, in a process that lifts its limit as parsers of other languages have none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from google._upb import _message as upb  # type: ignore[attr-defined]

# protobuf's, of Python, C++ and Java: messages within a message.
LIMIT = 100


def lift(*, on: bool = True) -> None:
    """Let this process read and write messages of any depth."""
    upb.SetAllowOversizeProtos(on)


@contextlib.contextmanager
def unlimited() -> Iterator[None]:
    """The same for a while."""
    lift()
    try:
        yield
    finally:
        lift(on=False)


def depth(message: Any) -> int:
    """How many messages there are within each other, by the field `inner`."""
    count = 0
    while message.HasField("inner"):
        message = message.inner
        count += 1
    return count


def nest(message: Any, count: int) -> None:
    """Put so many within each other into a message."""
    for _ in range(count):
        message = message.inner
    message.SetInParent()
