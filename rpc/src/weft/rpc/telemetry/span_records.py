"""Spans as weft's own processes record them: plain objects, encoded in another thread when they are over.

An SDK's span costs some 20 µs to make and 30 µs to encode; a task costs its coordinator 50 µs in all. OpenTelemetry is not
imported here.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, Protocol

Value = str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]
Attributes = Mapping[str, Value]

getrandbits = random.getrandbits


class Kind(enum.IntEnum):
    """A span's kind, as OTLP numbers it."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class SpanLink(NamedTuple):
    """A span of another trace."""

    trace_id: str
    span_id: str


class SpanEvent(NamedTuple):
    """Something that happened within a span."""

    name: str
    at_ns: int
    attributes: Attributes = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class SpanShape:
    """What all spans of one method and one kind share. Made once, and encoded once."""

    name: str
    kind: Kind
    attributes: Attributes
    # `otlp_encoding` keeps its bytes here.
    encoded: list[bytes] = field(default_factory=list[bytes])


@dataclass(slots=True, eq=False)
class SpanRecord:
    """A span. Ids are hexadecimal; a root has the parent id ""."""

    shape: SpanShape
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Value]
    # Empty: no error.
    error: str = ""
    failed: bool = False
    events: list[SpanEvent] | tuple[SpanEvent, ...] = ()
    links: list[SpanLink] | tuple[SpanLink, ...] = ()
    trace_state: str = ""


class Recorded(Protocol):
    """One or several spans that are over. What remains to be done is done later, in another thread."""

    @property
    def count(self) -> int:
        """How many spans."""
        ...

    def records(self) -> Iterable[SpanRecord]:
        """The spans."""
        ...

    def encoded(self) -> bytes:
        """The same as `otlp_encoding.span` encodes them."""
        ...


def new_trace_id() -> str:
    return f"{getrandbits(128) or 1:032x}"


def new_span_id() -> str:
    return f"{getrandbits(64) or 1:016x}"
