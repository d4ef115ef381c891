"""Spans around handlers: the caller's trace context made current, and a span for each attempt and direct call if tracing is on.

Where weft has set the export up (`use`), it records the spans itself; otherwise the program's own tracer provider makes them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Self

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.environment_variables import OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from weft.rpc.process.logs import get_logger
from weft.rpc.telemetry import attributes, span_shapes, trace_context
from weft.rpc.telemetry.handler_spans import HandlerSpan
from weft.rpc.telemetry.span_records import SpanShape, Value
from weft.rpc.telemetry.span_tracer import OpenSpan, SpanTracer
from weft.rpc.telemetry.status_codes import code_name, is_fault
from weft.v1 import session_pb2, task_pb2

_log = get_logger("weft.agent")

# Takes the outcome of the span's attempt or call.
EndSpan = Callable[[task_pb2.Outcome], None]

_propagator = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
_baggage = W3CBaggagePropagator()
# OpenTelemetry's way to the current context, and the short one where it is a variable of its own: not public, so it may be missing.
_current: Callable[[], Context] = otel_context.get_current
_attach: Callable[[Context], Token[Context]] = otel_context.attach
_detach: Callable[[Token[Context]], None] = otel_context.detach
_variable = getattr(getattr(otel_context, "_RUNTIME_CONTEXT", None), "_current_context", None)
if isinstance(_variable, ContextVar):
    _current, _attach, _detach = _variable.get, _variable.set, _variable.reset
# Under which OpenTelemetry keeps the current span.
(_SPAN_KEY,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())
_TRACER = "weft.agent"

# Placeholders for a tracer provider, while the application has set up none.
_STAND_INS = frozenset({trace.ProxyTracerProvider, trace.NoOpTracerProvider})
# OpenTelemetry makes a provider that the environment names at the first request for it.
_NAMED = OTEL_PYTHON_TRACER_PROVIDER in os.environ
_UNKNOWN = object()


class _Export:
    """The export that weft has set up in this process."""

    tracer: SpanTracer | None = None
    names: tuple[str, str] | None = None


_export = _Export()


def use(tracer: SpanTracer, names: tuple[str, str]) -> None:
    """Record the spans of handlers by weft's own export, which has these names of service and instance."""
    _export.tracer, _export.names = tracer, names


def exported_as() -> tuple[str, str] | None:
    """The names of the export that weft has set up in this process, for processes that are a part of it."""
    return _export.names


def exported() -> SpanTracer | None:
    """The export that weft has set up in this process."""
    return _export.tracer


def tracing() -> bool:
    """Whether spans are made in this process."""
    # Without a provider, OpenTelemetry reads the environment at each request: a fifth of the cost of a direct call
    # here.
    if not _NAMED and getattr(trace, "_TRACER_PROVIDER", _UNKNOWN) is None:
        return False
    return type(trace.get_tracer_provider()) not in _STAND_INS


@contextmanager
def joined(call: task_pb2.CallContext) -> Iterator[None]:
    """Make the caller's trace context and baggage current, so that the handler's own spans belong to the trace."""
    token = otel_context.attach(_propagator.extract(_carrier(call)))
    try:
        yield
    finally:
        otel_context.detach(token)


def processing(assignment: session_pb2.Assignment, agent_id: str) -> AbstractContextManager[EndSpan]:
    """As `joined`, with a span for the attempt if tracing is on. Yields a function that takes the outcome."""
    if _export.tracer is None and not tracing():
        return _Joined(assignment.context)
    shape = span_shapes.process(assignment.method, agent_id)
    about = span_shapes.of_attempt(assignment)
    tracer = _export.tracer
    if tracer is None:
        return _OfProgram(shape, assignment.context, about)
    return _Recorded(tracer, shape, assignment.context, about)


def serving(assignment: session_pb2.Assignment, agent_id: str) -> AbstractContextManager[EndSpan]:
    """As `processing`, for a direct call, if tracing is on."""
    shape, tracer = span_shapes.serve(assignment.method, agent_id), _export.tracer
    if tracer is None:
        return _OfProgram(shape, assignment.context, {})
    return _Recorded(tracer, shape, assignment.context, {})


class _Joined:
    """The caller's trace, without a span."""

    def __init__(self, call: task_pb2.CallContext) -> None:
        self._joined = joined(call)

    def __enter__(self) -> EndSpan:
        self._joined.__enter__()
        return _no_end

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._joined.__exit__(kind, error, where)


def _no_end(_outcome: task_pb2.Outcome) -> None:
    """Takes the outcome if there is no span."""


class _Recorded:
    """A span that weft records itself."""

    __slots__ = ("_baggage", "_code", "_message", "_span", "_token")

    def __init__(
        self, tracer: SpanTracer, shape: SpanShape, call: task_pb2.CallContext, about: dict[str, Value]
    ) -> None:
        span = self._span = tracer.begin_as(HandlerSpan, shape, call.traceparent, call.tracestate, about)
        self._code, self._message = -1, ""
        self._baggage = call.baggage
        if (own := call.batch_traceparent) and (batch := trace_context.parse(own)) is not None:
            span.link(batch.link)

    def __enter__(self) -> EndSpan:
        current = _current()
        if self._baggage:
            current = _baggage.extract({"baggage": self._baggage}, current)
        # As `set_span_in_context`, in one step.
        self._token = _attach(Context({**current, _SPAN_KEY: self._span}))
        return self._end

    def _end(self, outcome: task_pb2.Outcome) -> None:
        status = outcome.status
        self._code = status.code
        if self._code:
            self._message = status.message

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        _detach(self._token)
        self._span.finish(self._code, self._message)


class _OfProgram:
    """A span of the program's tracer provider. If that raises, the span is lost, not the call."""

    def __init__(self, shape: SpanShape, call: task_pb2.CallContext, about: dict[str, Value]) -> None:
        self._shape = shape
        self._call = call
        self._about = about
        self._stack = ExitStack()
        self._span: trace.Span = trace.INVALID_SPAN

    def __enter__(self) -> EndSpan:
        shape = self._shape
        try:
            self._stack.enter_context(joined(self._call))
            self._span = self._stack.enter_context(
                trace.get_tracer(_TRACER).start_as_current_span(
                    shape.name,
                    kind=trace.SpanKind[shape.kind.name],
                    attributes={**shape.attributes, **self._about},
                    links=self._links(),
                )
            )
        except Exception as error:
            self._tell(error)
        return self._end

    def _links(self) -> list[trace.Link]:
        batch = self._call.batch_traceparent
        context = trace.get_current_span(_propagator.extract({"traceparent": batch})).get_span_context()
        return [trace.Link(context)] if batch and context.is_valid else []

    def _end(self, outcome: task_pb2.Outcome) -> None:
        code, span = outcome.status.code, self._span
        span.set_attribute(attributes.RPC_RESPONSE_STATUS_CODE, code_name(code))
        if is_fault(self._shape.kind, code):
            span.set_attribute(attributes.ERROR_TYPE, code_name(code))
            span.set_status(trace.StatusCode.ERROR, outcome.status.message)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            self._stack.__exit__(kind, error, where)
        except Exception as failed:
            if failed is error:
                raise
            self._tell(failed)

    def _tell(self, error: Exception) -> None:
        _log.error("tracing.failed", exc_info=error, span=self._shape.name)


class PassedOn:
    """The CLIENT span of a call that a handler passes on: current within a `with` block.

    Attributes:
        status: code and message of the call, for its end.
    """

    def __init__(self, tracer: SpanTracer, method: str, parent: OpenSpan) -> None:
        shape = span_shapes.passed_on(method)
        self.span = tracer.begin_as(HandlerSpan, shape, parent.traceparent, parent.trace_state, None)
        self.status: tuple[int, str] = 0, ""

    def __enter__(self) -> Self:
        self._token = otel_context.attach(trace.set_span_in_context(self.span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        otel_context.detach(self._token)
        self.span.finish(*self.status)


def passing_on(method: str) -> PassedOn | None:
    """The span of a call that the current handler passes on; None: nothing is recorded here."""
    tracer = _export.tracer
    current = None if tracer is None else trace.get_current_span()
    if tracer is None or not isinstance(current, HandlerSpan) or not current.is_recording():
        return None
    return PassedOn(tracer, method, current)


def _carrier(call: task_pb2.CallContext) -> dict[str, str]:
    return {"traceparent": call.traceparent, "tracestate": call.tracestate, "baggage": call.baggage}


def inject(call: task_pb2.CallContext) -> None:
    """Put the current trace context, if there is one, into a call context that goes to another process."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    if "traceparent" in carrier:
        call.traceparent = carrier["traceparent"]
        call.tracestate = carrier.get("tracestate", "")
    if "baggage" in carrier:
        call.baggage = carrier["baggage"]
