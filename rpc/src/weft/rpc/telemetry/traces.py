"""Spans around handlers: the caller's trace context made current, and a span for each attempt and direct call if tracing is on.

The spans are made by the tracer provider of the program, or by the one that `providers` has set up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from google.rpc import code_pb2
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry import attributes
from weft.v1 import session_pb2, task_pb2

_log = get_logger("weft.agent")

# Takes the outcome of the span's attempt or call.
EndSpan = Callable[[task_pb2.Outcome], None]
Attributes = Mapping[str, str | int]

_propagator = TraceContextTextMapPropagator()
_TRACER = "weft.agent"

# Placeholders for a tracer provider, while the application has set up none.
_STAND_INS = frozenset({trace.ProxyTracerProvider, trace.NoOpTracerProvider})
# OpenTelemetry makes a provider that the environment names at the first request for it.
_NAMED = OTEL_PYTHON_TRACER_PROVIDER in os.environ
_UNKNOWN = object()
# A server's own faults. With the other codes it tells its caller of the caller's.
_SERVER_FAULTS = frozenset(
    {
        code_pb2.UNKNOWN,
        code_pb2.DEADLINE_EXCEEDED,
        code_pb2.UNIMPLEMENTED,
        code_pb2.INTERNAL,
        code_pb2.UNAVAILABLE,
        code_pb2.DATA_LOSS,
    }
)
_CODES: dict[int, str] = {number: name for name, number in code_pb2.Code.items()}


def tracing() -> bool:
    """Whether a tracer provider is set up in this process."""
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
    """As `joined`, with a span for the attempt if tracing is on. Yields a function that takes the outcome."""
    with joined(assignment.context):
        if not tracing():
            yield _no_end
            return
        method = assignment.method
        about: Attributes = {
            attributes.MESSAGING_SYSTEM: attributes.WEFT,
            attributes.MESSAGING_OPERATION_NAME: attributes.PROCESS,
            attributes.MESSAGING_OPERATION_TYPE: attributes.PROCESS,
            attributes.MESSAGING_DESTINATION_NAME: method,
            attributes.MESSAGING_MESSAGE_ID: assignment.task_id,
            attributes.TASK_ATTEMPT: assignment.attempt,
        }
        with _span(f"process {method}", trace.SpanKind.CONSUMER, method, agent_id, about) as span:
            yield lambda outcome: end(span, outcome, failed=bool(outcome.status.code))


@contextmanager
def serving(assignment: session_pb2.Assignment, agent_id: str) -> Iterator[EndSpan]:
    """As `processing`, for a direct call, if tracing is on."""
    method = assignment.method
    with joined(assignment.context), _span(method, trace.SpanKind.SERVER, method, agent_id, {}) as span:
        yield lambda outcome: end(span, outcome, failed=outcome.status.code in _SERVER_FAULTS)


def _no_end(_outcome: task_pb2.Outcome) -> None:
    """Takes the outcome if there is no span."""


@contextmanager
def _span(
    name: str, kind: trace.SpanKind, method: str, agent_id: str, about: Attributes
) -> Iterator[trace.Span]:
    """A current span. If the application's tracing raises, the span is lost, not the call."""
    shared = {
        attributes.RPC_SYSTEM_NAME: attributes.GRPC,
        attributes.RPC_METHOD: method,
        attributes.AGENT_ID: agent_id,
    }
    stack = ExitStack()
    span: trace.Span = trace.INVALID_SPAN
    try:
        tracer = trace.get_tracer(_TRACER)
        span = stack.enter_context(
            tracer.start_as_current_span(name, kind=kind, attributes=shared | dict(about))
        )
    except Exception as error:
        _log.error("tracing.failed", exc_info=error, method=method)
    try:
        yield span
    finally:
        try:
            stack.close()
        except Exception as error:
            _log.error("tracing.failed", exc_info=error, method=method)


def end(span: trace.Span, outcome: task_pb2.Outcome, *, failed: bool) -> None:
    """Set a span's status code; `failed`: and that it is an error."""
    code = code_name(outcome.status.code)
    span.set_attribute(attributes.RPC_RESPONSE_STATUS_CODE, code)
    if failed:
        span.set_attribute(attributes.ERROR_TYPE, code)
        span.set_status(trace.StatusCode.ERROR, outcome.status.message)


def code_name(code: int) -> str:
    """The name of a google.rpc.Code; of an unknown one, its number."""
    return _CODES.get(code, str(code))


def inject(call: task_pb2.CallContext) -> None:
    """Put the current trace context, if there is one, into a call context that goes to another process."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    if "traceparent" in carrier:
        call.traceparent = carrier["traceparent"]
        call.tracestate = carrier.get("tracestate", "")
