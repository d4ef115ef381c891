"""Where spans go: an OTLP receiver over gRPC, which gets bytes that are made here, or any exporter of OpenTelemetry's SDK."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import grpc
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from weft.rpc.telemetry import otlp_encoding
from weft.rpc.telemetry.span_log import SpanLog, SpanSink
from weft.rpc.telemetry.span_records import Kind, Recorded, SpanRecord, SpanShape

_SCOPE = InstrumentationScope("weft")
_EXAMPLE = SpanRecord(SpanShape("", Kind.INTERNAL, {}), "1" * 32, "1" * 16, "", 0, 0, {})
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_USED = ("_translate_data", "_stub", "_client", "_channel")
# Between so many records the thread lets others run: encoding holds the interpreter's lock.
_SLICE = 32


class ExporterSink:
    """Any exporter: records are made into spans of the SDK."""

    takes_encoded = False

    def __init__(self, exporter: SpanExporter, resource: Resource) -> None:
        self._exporter = exporter
        self._resource = resource

    def export(self, recorded: Sequence[Recorded | bytes], count: int, spans: Sequence[ReadableSpan]) -> bool:  # noqa: ARG002
        # Nothing is encoded where one of the sinks takes no bytes.
        records = [record for each in recorded if not isinstance(each, bytes) for record in each.records()]
        made = [*spans, *(readable(record, self._resource) for record in records)]
        return self._exporter.export(made) is SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._exporter.shutdown()


class OtlpSink:
    """An OTLP receiver over gRPC: records become bytes at an eighth of the cost of spans.

    The SDK's exporter does the rest: endpoint, credentials, headers, retries.
    """

    takes_encoded = True

    def __init__(self, exporter: Any, resource: Resource) -> None:
        self._exporter = exporter
        # Not public: `sink_of` looks whether they are there.
        exporter._translate_data = _as_it_is
        exporter._stub = _BytesStub
        exporter._client = _BytesStub(exporter._channel)
        # As the SDK's encoder writes them; a span that is never sent holds them.
        made = encode_spans([readable(_EXAMPLE, resource)]).resource_spans[0]
        self._resource = made.resource.SerializeToString()
        self._scope = made.scope_spans[0].scope.SerializeToString()

    def export(self, recorded: Sequence[Recorded | bytes], count: int, spans: Sequence[ReadableSpan]) -> bool:
        encoded: list[bytes] = []
        for number, each in enumerate(recorded):
            if isinstance(each, bytes):
                encoded.append(each)
                continue
            encoded.append(each.encoded())
            if number % _SLICE == _SLICE - 1:
                time.sleep(0)
        # Two messages in a row are one with the fields of both.
        whole = otlp_encoding.request(self._resource, self._scope, encoded) if encoded else b""
        if spans:
            whole += encode_spans(spans).SerializeToString()
        sent = self._exporter.export(_Encoded(whole, count + len(spans)))
        return bool(sent is SpanExportResult.SUCCESS)

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Encoded(Sequence[Any]):
    """A request in place of spans."""

    def __init__(self, request: bytes, spans: int) -> None:
        self.request = request
        self._spans = spans

    def __len__(self) -> int:
        return self._spans

    def __getitem__(self, index: Any) -> Any:
        raise IndexError(index)


class _BytesStub:
    """The stub of the collector's service, for requests that are encoded already."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.Export: Any = channel.unary_unary(_EXPORT, request_serializer=None, response_deserializer=None)


def _as_it_is(data: _Encoded) -> bytes:
    return data.request


def sink_of(exporter: SpanExporter, resource: Resource) -> SpanSink:
    """The way to an exporter."""
    if isinstance(exporter, OTLPSpanExporter) and all(hasattr(exporter, name) for name in _USED):
        return OtlpSink(exporter, resource)
    return ExporterSink(exporter, resource)


class LogProcessor(SpanProcessor):
    """Puts the SDK's spans, which handlers make, into the same log."""

    def __init__(self, log: SpanLog) -> None:
        self._log = log

    def on_end(self, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if context is not None and context.trace_flags.sampled:
            self._log.add(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._log.flush(timeout_millis / 1000)


def readable(record: SpanRecord, resource: Resource) -> ReadableSpan:
    """A record as a span of the SDK."""
    shape = record.shape
    parent = _context(record.trace_id, record.parent_id, remote=True) if record.parent_id else None
    state = TraceState.from_header([record.trace_state]) if record.trace_state else None
    return ReadableSpan(
        name=shape.name,
        context=_context(record.trace_id, record.span_id, remote=False, state=state),
        parent=parent,
        resource=resource,
        attributes={**shape.attributes, **record.attributes},
        events=[Event(event.name, event.attributes, event.at_ns) for event in record.events],
        links=[Link(_context(link.trace_id, link.span_id, remote=True)) for link in record.links],
        kind=SpanKind[shape.kind.name],
        status=Status(StatusCode.ERROR, record.error or None) if record.failed else Status(),
        start_time=record.start_ns,
        end_time=record.end_ns,
        instrumentation_scope=_SCOPE,
    )


def _context(trace_id: str, span_id: str, *, remote: bool, state: TraceState | None = None) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace_id, 16), int(span_id, 16), remote, flags, state)
