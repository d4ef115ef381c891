"""The trace context of the caller, for a queue breaks what travels in metadata by itself."""

from __future__ import annotations

import sys


def current() -> dict[str, str]:
    """The active span as W3C headers (`traceparent`, perhaps `tracestate`); empty when no span is active."""
    # A program that has not imported OpenTelemetry has no span, and need not pay for the import.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or not trace.get_current_span().get_span_context().is_valid:
        return {}
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers
