"""Traces: handlers join the caller's trace, with a span for the attempt when the application traces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.running_agent import running
from tests.support.scripted_coordinator import ScriptedCoordinator, ScriptedSession
from weft.agent import Agent
from weft.v1 import task_pb2

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
CONTEXT = task_pb2.CallContext(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-01", tracestate="vendor=x")


def current(request: StringValue) -> StringValue:
    span = trace.get_current_span().get_span_context()
    return StringValue(value=f"{span.trace_id:032x} {span.span_id:016x} {span.trace_state.to_header()}")


async def current_async(request: StringValue) -> StringValue:
    return current(request)


def current_isolated(request: StringValue) -> StringValue:
    return current(request)


async def fails(request: StringValue, context: Any) -> StringValue:
    context.set_code(5)
    context.set_details("no such thing")
    return request


@pytest.fixture
def session() -> Iterator[ScriptedSession]:
    with ScriptedCoordinator() as coordinator:
        agent = Agent("traced", target=coordinator.address)
        agent.method("trace.v1.Trace/Async")(current_async)
        agent.method("trace.v1.Trace/Sync")(current)
        agent.method("trace.v1.Trace/Isolated", isolate=True)(current_isolated)
        agent.method("trace.v1.Trace/Fails")(fails)
        with running(agent):
            session = coordinator.accept()
            session.welcome(heartbeat_s=2.0)
            yield session


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # As `set_tracer_provider` does, which does so only once in a process.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    return exporter


def seen(session: ScriptedSession, method: str, context: task_pb2.CallContext | None = CONTEXT) -> list[str]:
    session.assign("t", f"trace.v1.Trace/{method}", StringValue(), context=context)
    outcome = session.result("t", 30).outcome
    assert not outcome.HasField("status"), outcome
    return StringValue.FromString(outcome.response).value.split(" ")


@pytest.mark.parametrize("method", ["Async", "Sync", "Isolated"])
def test_without_tracing_the_remote_span_is_current(session: ScriptedSession, method: str) -> None:
    assert seen(session, method) == [TRACE_ID, SPAN_ID, "vendor=x"]


def test_a_task_without_trace_context_begins_a_trace(
    session: ScriptedSession, exported: InMemorySpanExporter
) -> None:
    trace_id, _, _ = seen(session, "Async", None)
    (span,) = exported.get_finished_spans()
    assert span.parent is None
    assert f"{span.get_span_context().trace_id:032x}" == trace_id


def test_an_unsampled_trace_has_no_spans(session: ScriptedSession, exported: InMemorySpanExporter) -> None:
    context = task_pb2.CallContext(traceparent=f"00-{TRACE_ID}-{SPAN_ID}-00")
    assert seen(session, "Async", context)[0] == TRACE_ID
    assert not exported.get_finished_spans()


def test_a_malformed_trace_context_is_ignored(session: ScriptedSession) -> None:
    assert seen(session, "Async", task_pb2.CallContext(traceparent="nonsense"))[0] == "0" * 32


@pytest.mark.parametrize("method", ["Async", "Sync", "Isolated"])
def test_with_tracing_the_attempt_is_a_span_of_the_trace(
    session: ScriptedSession, exported: InMemorySpanExporter, method: str
) -> None:
    trace_id, span_id, _ = seen(session, method)
    (span,) = exported.get_finished_spans()
    span_context, parent = span.get_span_context(), span.parent
    assert span_context is not None
    assert parent is not None

    assert trace_id == TRACE_ID
    assert f"{span_context.span_id:016x}" == span_id
    assert f"{parent.span_id:016x}" == SPAN_ID
    assert span.kind is trace.SpanKind.CONSUMER
    assert span.name == f"process trace.v1.Trace/{method}"
    assert dict(span.attributes or {}) == {
        "rpc.system.name": "grpc",
        "rpc.method": f"trace.v1.Trace/{method}",
        "rpc.response.status_code": "OK",
        "messaging.system": "weft",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": f"trace.v1.Trace/{method}",
        "messaging.message.id": "t",
        "weft.task.attempt": 1,
        "weft.agent.id": "traced",
    }


def test_a_failure_is_the_spans_failure(session: ScriptedSession, exported: InMemorySpanExporter) -> None:
    session.assign("t", "trace.v1.Trace/Fails", StringValue(), context=CONTEXT)
    session.result("t")
    (span,) = exported.get_finished_spans()

    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description == "no such thing"
    attributes = dict(span.attributes or {})
    assert attributes["rpc.response.status_code"] == attributes["error.type"] == "NOT_FOUND"
