"""Traces: the remote context made current for a handler, and one CONSUMER span an attempt when tracing is on.

Costs nothing for a task without trace context.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from weft.agent.process.failure_log import log_raised
from weft.v1 import session_pb2, task_pb2

# Takes the outcome of the span's attempt or call.
EndSpan = Callable[[task_pb2.Outcome], None]

_propagator = TraceContextTextMapPropagator()
_TRACER = "weft.agent"


# Placeholders for a tracer provider, while the application has set up none.
_STAND_INS = frozenset({trace.ProxyTracerProvider, trace.NoOpTracerProvider})
# OpenTelemetry makes a provider that the environment names at the first request for it.
_NAMED = OTEL_PYTHON_TRACER_PROVIDER in os.environ
_UNKNOWN = object()


def tracing() -> bool:
    """Whether the application has set up a tracer provider."""
    # Without a provider, OpenTelemetry reads the environment at each request: a fifth of the cost of a direct call
    # here.
    if not _NAMED and getattr(trace, "_TRACER_PROVIDER", _UNKNOWN) is None:
        return False
    return type(trace.get_tracer_provider()) not in _STAND_INS


@contextmanager
def joined(call: task_pb2.CallContext) -> Iterator[None]:
    """Make the caller's trace context current, so that the handler's own spans belong to the trace."""
    carrier = {"traceparent": call.traceparent, "tracestate": call.tracestate}
    token = otel_context.attach(_propagator.extract(carrier))
    try:
        yield
    finally:
        otel_context.detach(token)


@contextmanager
def processing(assignment: session_pb2.Assignment, agent_id: str) -> Iterator[EndSpan]:
    """As `joined`, with a span for the attempt when tracing is on. Yields a function that takes the outcome."""
    with joined(assignment.context):
        if not tracing():
            yield _no_end
            return
        attributes: dict[str, str | int] = {
            "messaging.system": "weft",
            "messaging.operation.type": "process",
            "messaging.message.id": assignment.task_id,
            "weft.task.attempt": assignment.attempt,
        }
        name = f"process {assignment.method}"
        with _span(name, trace.SpanKind.CONSUMER, assignment.method, agent_id, attributes) as span:
            yield lambda outcome: _end(span, outcome)


@contextmanager
def serving(assignment: session_pb2.Assignment, agent_id: str) -> Iterator[EndSpan]:
    """As `processing`, for a direct call, when tracing is on."""
    method = assignment.method
    with joined(assignment.context), _span(method, trace.SpanKind.SERVER, method, agent_id, {}):
        yield _no_end


def _no_end(_outcome: task_pb2.Outcome) -> None:
    """Takes the outcome if there is no span, or if weft must not set the span's status."""


@contextmanager
def _span(
    name: str, kind: trace.SpanKind, method: str, agent_id: str, attributes: Mapping[str, str | int]
) -> Iterator[trace.Span]:
    """A current span. If the application's tracing raises, the span is lost, not the call."""
    service, _, short = method.partition("/")
    shared = {
        "rpc.system.name": "grpc",
        "rpc.service": service,
        "rpc.method": short,
        "weft.agent.id": agent_id,
    }
    stack = ExitStack()
    span: trace.Span = trace.INVALID_SPAN
    try:
        tracer = trace.get_tracer(_TRACER)
        span = stack.enter_context(
            tracer.start_as_current_span(name, kind=kind, attributes=shared | dict(attributes))
        )
    except Exception as error:
        log_raised("the application's tracing failed", error, method=method)
    try:
        yield span
    finally:
        try:
            stack.close()
        except Exception as error:
            log_raised("the application's tracing failed", error, method=method)


def _end(span: trace.Span, outcome: task_pb2.Outcome) -> None:
    code = outcome.status.code
    span.set_attribute("rpc.response.status_code", code)
    if code:
        span.set_status(trace.StatusCode.ERROR, outcome.status.message)


def inject(call: task_pb2.CallContext) -> None:
    """Put the current trace context, if there is one, into a call context that goes to another process."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    if "traceparent" in carrier:
        call.traceparent = carrier["traceparent"]
        call.tracestate = carrier.get("tracestate", "")
