"""The W3C headers of the active span and its baggage. A task carries them, because gRPC's metadata does not pass through a queue.

OpenTelemetry is not imported here: a client should not pay for that.
"""

from __future__ import annotations

import sys


def is_traced() -> bool:
    """Whether a tracer provider is set up in this process, as far as can be known without OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    return trace is not None and getattr(trace, "_TRACER_PROVIDER", None) is not None


def current() -> dict[str, str]:
    """The active span and baggage as W3C headers (`traceparent`, perhaps `tracestate` and `baggage`). Empty: no span is active."""
    # A program that has not imported OpenTelemetry has no span.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None or not trace.get_current_span().get_span_context().is_valid:
        return {}
    from opentelemetry.baggage.propagation import W3CBaggagePropagator
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    W3CBaggagePropagator().inject(headers)
    return headers
