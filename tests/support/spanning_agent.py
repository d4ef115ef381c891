"""An agent whose handlers use OpenTelemetry: `weft agent tests.support.spanning_agent:agent` hosts them."""

from __future__ import annotations

from google.protobuf.wrappers_pb2 import StringValue
from opentelemetry import baggage, trace

from weft.agent import Agent

METHODS = ("span.v1.Spans/Async", "span.v1.Spans/Sync", "span.v1.Spans/Isolated")

agent = Agent()


def inside(request: StringValue) -> StringValue:
    """A span, an attribute of the handler's own span, and the caller's baggage."""
    trace.get_current_span().set_attribute("app.seen", request.value)
    with trace.get_tracer("app").start_as_current_span("inside"):
        return StringValue(value=str(baggage.get_baggage("tenant")))


@agent.method(METHODS[0])
async def inside_async(request: StringValue) -> StringValue:
    return inside(request)


agent.method(METHODS[1])(inside)


@agent.method(METHODS[2], isolate=True)
def inside_isolated(request: StringValue) -> StringValue:
    return inside(request)
