"""Begins spans in weft's own processes: whether a trace is sampled, the ids, and the record at the end.

A span is as little as it can be while it is open: what its record needs besides is found out where records are encoded.
OpenTelemetry is not imported here: a coordinator without export never loads it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from weft.rpc.telemetry import attributes as names
from weft.rpc.telemetry import trace_context
from weft.rpc.telemetry.span_log import SpanLog
from weft.rpc.telemetry.span_records import (
    Attributes,
    Recorded,
    SpanEvent,
    SpanLink,
    SpanRecord,
    SpanShape,
    Value,
    new_span_id,
    new_trace_id,
)
from weft.rpc.telemetry.status_codes import code_name, is_fault
from weft.rpc.telemetry.trace_context import TraceContext

_NONE: dict[str, Value] = {}


class Sampling(Protocol):
    """Decides which traces are recorded here."""

    def __call__(self, parent: TraceContext | None, trace_id: str, shape: SpanShape) -> bool:
        """Whether a span with this parent (None: a root) is recorded."""
        ...


class OpenSpan:
    """A span that has begun. Not sampled: it still has ids, so that callees know that nothing is recorded.

    Large because it has all that a span may say, and is one object, since each task has several.

    Args:
        context: its own ids.
        parent_id: "" for a root.
        attributes: the first ones; the span keeps the object.
        add: takes it when it is over.
    """

    __slots__ = (
        "_add",
        "_attributes",
        "_code",
        "_end_ns",
        "_error",
        "_events",
        "_failed",
        "_links",
        "_parent_id",
        "_start_ns",
        "context",
        "shape",
        "trace_state",
    )

    def __init__(
        self,
        shape: SpanShape,
        context: TraceContext,
        parent_id: str,
        trace_state: str,
        add: Callable[[Recorded], None],
        attributes: dict[str, Value] | None,
    ) -> None:
        self.shape = shape
        self.context = context
        self.trace_state = trace_state
        self._parent_id = parent_id
        self._add = add
        self._attributes = attributes
        self._code = -1
        self._failed, self._error = False, ""
        # Most have none.
        self._events: list[SpanEvent] | None = None
        self._links: list[SpanLink] | None = None
        self._start_ns = time.time_ns()

    @property
    def traceparent(self) -> str:
        """The header of calls that belong to it."""
        return self.context.traceparent

    def set(self, key: str, value: Value) -> None:
        """Set an attribute."""
        if self._attributes is None:
            self._attributes = {}
        self._attributes[key] = value

    def event(self, name: str, attributes: Attributes | None = None, at_ns: int = 0) -> None:
        """Note that something has happened: now, or at a time."""
        if self._events is None:
            self._events = []
        self._events.append(SpanEvent(name, at_ns or time.time_ns(), attributes or {}))

    def link(self, link: SpanLink) -> None:
        if self._links is None:
            self._links = []
        self._links.append(link)

    def rename(self, name: str) -> None:
        self.shape = SpanShape(name, self.shape.kind, self.shape.attributes)

    def fail(self, error: str) -> None:
        """It is an error, whatever its code says."""
        self._failed, self._error = True, error

    def finish(self, code: int = -1, message: str = "") -> None:
        """It is over.

        Args:
            code: a google.rpc.Code, for spans of calls.
            message: why it failed.
        """
        if self.context.sampled:
            self._end_ns = time.time_ns()
            self._code = code
            if message and not self._failed:
                self._error = message
            self._add(self)

    def record(self) -> SpanRecord:
        code, kind = self._code, self.shape.kind
        about = self._attributes or _NONE
        failed = self._failed
        if code >= 0:
            name = code_name(code)
            about = {**about, names.RPC_RESPONSE_STATUS_CODE: name}
            if is_fault(kind, code):
                about[names.ERROR_TYPE] = name
                failed = True
        return SpanRecord(
            self.shape,
            self.context.trace_id,
            self.context.span_id,
            self._parent_id,
            self._start_ns,
            self._end_ns,
            about,
            self._error if failed else "",
            failed,
            self._events or (),
            self._links or (),
            self.trace_state,
        )


Span = TypeVar("Span", bound=OpenSpan)


class SpanTracer:
    """Begins spans, and takes records."""

    def __init__(self, log: SpanLog, sampling: Sampling) -> None:
        self.add = log.add
        self._log = log
        self._sampling = sampling

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
            trace_id, parent_id, trace_state = new_trace_id(), "", ""
        else:
            trace_id, parent_id = parent.trace_id, parent.span_id
        context = TraceContext(trace_id, new_span_id(), self._sampling(parent, trace_id, shape))
        return kind(shape, context, parent_id, trace_state, self.add, attributes)

    def close(self, timeout_s: float) -> bool:
        """Export what waits, and end; False: that takes longer than the timeout."""
        return self._log.close(timeout_s)
