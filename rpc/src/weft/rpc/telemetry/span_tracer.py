"""Begins spans in weft's own processes: whether a trace is sampled, the ids, and the record at the end.

A span is as little as it can be while it is open, and is its own record: the rest is found out where spans are encoded.
OpenTelemetry is not imported here: a coordinator without export never loads it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from weft.rpc.telemetry import attributes as names
from weft.rpc.telemetry import otlp_encoding, trace_context
from weft.rpc.telemetry.span_log import SpanLog
from weft.rpc.telemetry.span_records import (
    Attributes,
    Recorded,
    SpanEvent,
    SpanLink,
    SpanRecord,
    SpanShape,
    Value,
    getrandbits,
    new_trace_id,
)
from weft.rpc.telemetry.status_codes import code_name, is_fault
from weft.rpc.telemetry.trace_context import TraceContext

_OK = code_name(0)


class Sampling(Protocol):
    """Decides which traces are recorded here.

    Attributes:
        follows_parent: a span with a parent is recorded as the parent is.
    """

    follows_parent: bool

    def __call__(self, parent: TraceContext | None, trace_id: str, shape: SpanShape) -> bool:
        """Whether a span with this parent (None: a root) is recorded."""
        ...


class OpenSpan(SpanRecord):
    """A span that has begun. Not sampled: it still has ids, so that callees know that nothing is recorded.

    Large because it has all that a span may say, and is one object, since each task has several.

    Args:
        parent: None for a root.
        sampled: whether it is recorded.
        attributes: the first ones; the span keeps the object.
        add: takes it when it is over.
    """

    __slots__ = ("_add", "_code", "sampled")

    count = 1

    def __init__(
        self,
        shape: SpanShape,
        parent: TraceContext | None,
        trace_id: str,
        trace_state: str,
        *,
        sampled: bool,
        attributes: dict[str, Value] | None,
        add: Callable[[Recorded], None],
    ) -> None:
        # Not by the base class: each task has several.
        self.shape = shape
        self.trace_id, self.span_id = trace_id, f"{getrandbits(64) or 1:016x}"
        self.parent_id = "" if parent is None else parent.span_id
        self.trace_state = trace_state
        self.sampled = sampled
        self.attributes = {} if attributes is None else attributes
        self.failed, self.error = False, ""
        # Most have none.
        self.events = self.links = ()
        self._add = add
        self._code, self.end_ns = -1, 0
        self.start_ns = time.time_ns()

    @property
    def context(self) -> TraceContext:
        """Its own ids."""
        return TraceContext(self.trace_id, self.span_id, self.sampled)

    @property
    def traceparent(self) -> str:
        """The header of calls that belong to it."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def set(self, key: str, value: Value) -> None:
        """Set an attribute."""
        self.attributes[key] = value

    def event(self, name: str, attributes: Attributes | None = None, at_ns: int = 0) -> None:
        """Note that something has happened: now, or at a time."""
        if isinstance(self.events, tuple):
            self.events = []
        self.events.append(SpanEvent(name, at_ns or time.time_ns(), attributes or {}))

    def link(self, link: SpanLink) -> None:
        if isinstance(self.links, tuple):
            self.links = []
        self.links.append(link)

    def rename(self, name: str) -> None:
        self.shape = SpanShape(name, self.shape.kind, self.shape.attributes)

    def fail(self, error: str) -> None:
        """It is an error, whatever its code says."""
        self.failed, self.error = True, error

    def finish(self, code: int = -1, message: str = "") -> None:
        """It is over.

        Args:
            code: a google.rpc.Code, for spans of calls.
            message: why it failed.
        """
        if self.sampled:
            self.end_ns = time.time_ns()
            self._code = code
            if message and not self.failed:
                self.error = message
            self._add(self)

    def records(self) -> Sequence[SpanRecord]:
        if self._code >= 0:
            self._tell(self._code)
        return (self,)

    def _tell(self, code: int) -> None:
        """Say in its attributes how it ended."""
        name = self.attributes[names.RPC_RESPONSE_STATUS_CODE] = code_name(code)
        if is_fault(self.shape.kind, code):
            self.attributes[names.ERROR_TYPE] = name
            self.failed = True

    def encoded(self) -> bytes:
        if self._code == 0:
            # Nearly always.
            self.attributes[names.RPC_RESPONSE_STATUS_CODE] = _OK
        elif self._code > 0:
            self._tell(self._code)
        return otlp_encoding.span(self)


Span = TypeVar("Span", bound=OpenSpan)


class SpanTracer:
    """Begins spans, and takes records."""

    def __init__(self, log: SpanLog, sampling: Sampling) -> None:
        # Take spans of weft's own that are over.
        self.add, self.add_many = log.record, log.record_many
        self._log = log
        self._sampling, self._follows_parent = sampling, sampling.follows_parent

    def begin(
        self,
        shape: SpanShape,
        traceparent: str = "",
        trace_state: str = "",
        attributes: dict[str, Value] | None = None,
    ) -> OpenSpan:
        """Begin a span.

        Args:
            traceparent: its parent; empty or malformed: it is a root.
            trace_state: the parent's `tracestate`.
            attributes: the first ones; the span keeps the object.
        """
        return self.begin_as(OpenSpan, shape, traceparent, trace_state, attributes)

    def begin_as(
        self,
        kind: type[Span],
        shape: SpanShape,
        traceparent: str,
        trace_state: str,
        attributes: dict[str, Value] | None,
    ) -> Span:
        """As `begin`, with a class of the span."""
        parent = trace_context.parse(traceparent) if traceparent else None
        if parent is None:
            trace_id, trace_state = new_trace_id(), ""
        else:
            trace_id = parent.trace_id
        if parent is not None and self._follows_parent:
            sampled = parent.sampled
        else:
            sampled = self._sampling(parent, trace_id, shape)
        return kind(
            shape, parent, trace_id, trace_state, sampled=sampled, attributes=attributes, add=self.add
        )

    def close(self, timeout_s: float) -> bool:
        """Export what waits, and end; False: that takes longer than the timeout."""
        return self._log.close(timeout_s)
