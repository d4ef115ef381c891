"""Begins spans in weft's own processes: whether a trace is sampled, the ids, and the record at the end.

OpenTelemetry is not imported here: a coordinator without export never loads it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

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
from weft.rpc.telemetry.trace_context import TraceContext


class Sampling(Protocol):
    """Decides which traces are recorded here."""

    def __call__(self, parent: TraceContext | None, trace_id: str, shape: SpanShape) -> bool:
        """Whether a span with this parent (None: a root) is recorded."""
        ...


class OpenSpan:
    """A span that has begun. Not sampled: it still has ids, so that callees know that nothing is recorded."""

    __slots__ = (
        "_add",
        "_attributes",
        "_events",
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
        self._start_ns = time.time_ns()
        self._attributes: dict[str, Value] = {} if attributes is None else attributes
        self._events: list[SpanEvent] = []
        self._links: list[SpanLink] = []

    @property
    def traceparent(self) -> str:
        """The header of calls that belong to it."""
        return self.context.traceparent

    def set(self, key: str, value: Value) -> None:
        """Set an attribute."""
        self._attributes[key] = value

    def event(self, name: str, attributes: Attributes | None = None) -> None:
        """Note that something has happened now."""
        if self.context.sampled:
            self._events.append(SpanEvent(name, time.time_ns(), attributes or {}))

    def add_event(self, event: SpanEvent) -> None:
        self._events.append(event)

    def rename(self, name: str) -> None:
        self.shape = SpanShape(name, self.shape.kind, self.shape.attributes)

    def link(self, link: SpanLink) -> None:
        self._links.append(link)

    def end(self, *, failed: bool = False, error: str = "") -> None:
        """It is over."""
        trace_id, span_id, sampled = self.context
        if sampled:
            self._add(
                SpanRecord(
                    self.shape,
                    trace_id,
                    span_id,
                    self._parent_id,
                    self._start_ns,
                    time.time_ns(),
                    self._attributes,
                    error,
                    failed,
                    self._events,
                    self._links,
                    self.trace_state,
                )
            )


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
        parent = trace_context.parse(traceparent) if traceparent else None
        trace_id = new_trace_id() if parent is None else parent.trace_id
        context = TraceContext(trace_id, new_span_id(), self._sampling(parent, trace_id, shape))
        parent_id = "" if parent is None else parent.span_id
        state = trace_state if parent is not None else ""
        return OpenSpan(shape, context, parent_id, state, self.add, attributes)

    def close(self, timeout_s: float) -> bool:
        """Export what waits, and end; False: that takes longer than the timeout."""
        return self._log.close(timeout_s)
