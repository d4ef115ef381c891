"""A receiver of traces: the published collector service of OTLP, over gRPC and over HTTP, which keeps every span."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

Value = str | int | float | bool


@dataclass
class ReceivedSpan:
    """A span, with the attributes of its process. Ids are hexadecimal; a root has the parent id ""."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Value]
    process: dict[str, Value]
    status: str
    status_message: str
    start_ns: int
    end_ns: int
    events: list[tuple[str, dict[str, Value]]]
    # (trace id, span id)
    links: list[tuple[str, str]]
    trace_state: str = ""

    @property
    def service(self) -> str:
        return str(self.process["service.name"])


@dataclass
class OtlpReceiver:
    """What has been received. `grpc_endpoint` and `http_endpoint` are for OTEL_EXPORTER_OTLP_ENDPOINT."""

    grpc_endpoint: str = ""
    http_endpoint: str = ""
    spans: list[ReceivedSpan] = field(default_factory=list[ReceivedSpan])
    # Metadata of each export: keys and values.
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def take(
        self, request: trace_service_pb2.ExportTraceServiceRequest, headers: dict[str, str]
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        with self._changed:
            self.headers.append(headers)
            self.spans += received_spans(request)
            self._changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait(
        self, complete: Callable[[list[ReceivedSpan]], bool], timeout_s: float = 30
    ) -> list[ReceivedSpan]:
        """The spans, once there are all that are expected."""
        ends_at = time.monotonic() + timeout_s
        with self._changed:
            while not complete(self.spans):
                left_s = ends_at - time.monotonic()
                assert left_s > 0, (
                    f"only these spans came: {[(s.service, s.kind, s.name) for s in self.spans]}"
                )
                self._changed.wait(left_s)
            return list(self.spans)


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """A receiver on two free ports."""
    receiver = OtlpReceiver()

    class Servicer(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: trace_service_pb2.ExportTraceServiceRequest, context: Any) -> Any:
            return receiver.take(request, {key: str(value) for key, value in context.invocation_metadata()})

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
            answer = receiver.take(request, {key.lower(): value for key, value in self.headers.items()})
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(answer.SerializeToString())

        def log_request(self, *_: Any) -> None:
            """Log nothing."""

    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Servicer(), server)
    receiver.grpc_endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.http_endpoint = f"http://127.0.0.1:{web.server_port}"
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        yield receiver
    finally:
        web.shutdown()
        web.server_close()
        server.stop(0).wait()


def received_spans(request: trace_service_pb2.ExportTraceServiceRequest) -> Iterator[ReceivedSpan]:
    """The spans of one export."""
    for process in request.resource_spans:
        for scope in process.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    name=span.name,
                    kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    attributes=_values(span.attributes),
                    process=_values(process.resource.attributes),
                    status=trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_"),
                    status_message=span.status.message,
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    events=[(event.name, _values(event.attributes)) for event in span.events],
                    links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    trace_state=span.trace_state,
                )


def _values(pairs: Any) -> dict[str, Value]:
    found: dict[str, Value] = {}
    each: KeyValue
    for each in pairs:
        kind = each.value.WhichOneof("value")
        found[each.key] = "" if kind is None else getattr(each.value, kind)
    return found
