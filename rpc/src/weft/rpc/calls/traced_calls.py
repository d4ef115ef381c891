"""SERVER spans around calls that this process serves or passes on.

The behaviour sees the call's metadata with the span in place of the caller's: what it passes on belongs to the span. Small and
explicit: there is no interceptor, and nothing is current across a stream's `yield`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
from google.rpc import code_pb2
from grpc import aio

from weft.rpc.handler_shape import behaviour_of
from weft.rpc.telemetry import span_shapes
from weft.rpc.telemetry.span_records import SpanShape
from weft.rpc.telemetry.span_tracer import OpenSpan, SpanTracer

Pairs = Iterable[tuple[str, str | bytes]]
Behaviour = Callable[[Any, Any], Awaitable[Any]]


class TracedContext:
    """A call's context within its span."""

    def __init__(self, context: Any, span: OpenSpan, pairs: Pairs) -> None:
        self._context = context
        self._pairs = (
            *[pair for pair in pairs if pair[0] != "traceparent"],
            ("traceparent", span.traceparent),
        )
        self.span = span

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> Any:
        """The call's metadata; its `traceparent` names the span."""
        return self._pairs


def span_of(context: Any) -> OpenSpan | None:
    """The span of a call; None: there is none."""
    return context.span if isinstance(context, TracedContext) else None


def begin(tracer: SpanTracer, shape: SpanShape, pairs: Pairs) -> OpenSpan:
    """Begin a span whose parent a call's metadata names."""
    traceparent = trace_state = ""
    for key, value in pairs:
        if key == "traceparent":
            traceparent = str(value)
        elif key == "tracestate":
            trace_state = str(value)
    return tracer.begin(shape, traceparent, trace_state)


def traced(
    behaviour: Behaviour, shape: SpanShape, tracer: SpanTracer, onward: SpanShape | None = None
) -> Behaviour:
    """The same behaviour, with a span around each call.

    Args:
        onward: the span of the call that is passed on, within the first one; None: nothing is passed on.
    """

    async def call(request: Any, context: Any) -> Any:
        pairs = context.invocation_metadata() or ()
        spans = [begin(tracer, shape, pairs)]
        if onward is not None:
            spans.append(tracer.begin(onward, spans[0].traceparent, spans[0].trace_state))
        within = TracedContext(context, spans[-1], pairs)
        if not spans[0].sampled:
            return await behaviour(request, within)
        raised: BaseException | None = None
        try:
            return await behaviour(request, within)
        except BaseException as error:
            raised = error
            raise
        finally:
            code, message = status_of(context, raised)
            for span in reversed(spans):
                span.finish(code, message)

    return call


def traced_handler(
    handler: Any, method: str, tracer: SpanTracer, *, passes_on: bool = False
) -> grpc.RpcMethodHandler[Any, Any]:
    """The same handler, with a SERVER span around each call of this method; `passes_on`: and a CLIENT span within that."""
    shape, behaviour = behaviour_of(handler)
    onward = span_shapes.passed_on(method) if passes_on else None
    within = traced(behaviour, span_shapes.serve(method), tracer, onward)
    made: grpc.RpcMethodHandler[Any, Any] = handler._replace(**{shape: within})
    return made


def status_of(context: Any, raised: BaseException | None) -> tuple[int, str]:
    """Code and message of a call that is over."""
    if isinstance(raised, asyncio.CancelledError):
        return code_pb2.CANCELLED, ""
    if raised is not None and not isinstance(raised, aio.AbortError):
        return code_pb2.UNKNOWN, ""
    code = context.code()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else int(code or 0)
    return number, str(context.details() or "") if number else ""
