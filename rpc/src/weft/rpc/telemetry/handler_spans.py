"""The span of a running handler, as OpenTelemetry's API has it, recorded as weft's own spans are.

Made where weft has set the export up. The handler sees it as the current span: it may set attributes and add events, and its own spans
become children. That costs a tenth of an SDK's span.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from opentelemetry import trace
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags, TraceState

from weft.rpc.process.redaction import redacted_text, without_declared
from weft.rpc.telemetry.span_records import Attributes, SpanLink, Value
from weft.rpc.telemetry.span_tracer import OpenSpan

_PLAIN = (str, bool, int, float)


def _most(of: str) -> int:
    """OpenTelemetry's limit of attributes, events or links of a span."""
    given = os.environ.get(f"OTEL_SPAN_{of}_COUNT_LIMIT", "").strip()
    return int(given) if given.isdecimal() else 128


MOST_ATTRIBUTES, MOST_EVENTS, MOST_LINKS = _most("ATTRIBUTE"), _most("EVENT"), _most("LINK")


class HandlerSpan(OpenSpan, trace.Span):
    """An open span that a handler may look at and add to. Made by `SpanTracer.begin_as`.

    Large because it has the whole interface of OpenTelemetry's spans.
    """

    _context: SpanContext | None = None

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: weft ends it when the handler has ended."""

    def get_span_context(self) -> SpanContext:
        if self._context is None:
            flags = TraceFlags(TraceFlags.SAMPLED if self.sampled else TraceFlags.DEFAULT)
            state = TraceState.from_header([self.trace_state]) if self.trace_state else None
            self._context = SpanContext(int(self.trace_id, 16), int(self.span_id, 16), False, flags, state)
        return self._context

    def is_recording(self) -> bool:
        return self.sampled and not self.end_ns

    def set_attribute(self, key: str, value: Any) -> None:
        if self.is_recording() and (plain := _plain(without_declared(key, value))) is not None:
            known = self.attributes
            # A handler may run for long: what it adds is bounded, as OpenTelemetry's SDK bounds it.
            if key in known or len(known) < MOST_ATTRIBUTES:
                self.set(key, plain)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        if self.is_recording() and len(self.events) < MOST_EVENTS:
            self.event(name, _all_plain(attributes), timestamp or 0)

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:  # noqa: ARG002
        if self.is_recording() and context.is_valid and len(self.links) < MOST_LINKS:
            self.link(SpanLink(f"{context.trace_id:032x}", f"{context.span_id:016x}"))

    def update_name(self, name: str) -> None:
        if self.is_recording():
            self.rename(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        code, text = (
            (status.status_code, status.description) if isinstance(status, Status) else (status, description)
        )
        if self.is_recording() and code is StatusCode.ERROR:
            self.fail(redacted_text(text or ""))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: ARG002
    ) -> None:
        about = {
            "exception.type": type(exception).__qualname__,
            "exception.message": redacted_text(str(exception)),
        }
        self.add_event("exception", about | dict(attributes or {}), timestamp)


def _plain(value: Any) -> Value | None:
    """A value that an attribute can have; None: it can not."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        return tuple(items) if all(isinstance(each, _PLAIN) for each in items) else None
    return None


def _all_plain(attributes: Mapping[str, Any] | None) -> Attributes:
    plain = {key: _plain(without_declared(key, value)) for key, value in (attributes or {}).items()}
    return {key: value for key, value in plain.items() if value is not None}
