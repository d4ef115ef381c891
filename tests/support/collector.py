"""OpenTelemetry's own collector as a receiver, built from its Go modules: what processes send to it, it writes to files, which are read here."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.beside import free_address
from tests.support.languages import Language, run
from tests.support.metrics_receiver import Received, newest
from tests.support.otlp_receiver import ReceivedSpan, received_spans
from tests.support.processes import Process, until

_SOURCES = "tests/support/go_collector"
# In OTLP's JSON these are hexadecimal, where protobuf's JSON has bytes in base64.
_IDS = frozenset({"traceId", "spanId", "parentSpanId"})
_CONFIG = """
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "{grpc}"}}
      http: {{endpoint: "{http}"}}
exporters:
  file/traces: {{path: "{folder}/traces.json", flush_interval: 50ms}}
  file/metrics: {{path: "{folder}/metrics.json", flush_interval: 50ms}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [file/traces]}}
    metrics: {{receivers: [otlp], exporters: [file/metrics]}}
"""

Kind = TypeVar("Kind", bound=Message)
Found = TypeVar("Found")


class GoCollector(Language):
    """The build. A Go that is older than the collector needs brings a newer one itself."""

    name = "go_collector"
    tools = (("go", "version", (1, 24)),)
    sources = (_SOURCES,)

    def build(self, folder: Path) -> None:
        run(["go", "build", "-o", str(folder / "collector"), "."], folder / _SOURCES)


class Collector:
    """A running collector. `grpc_endpoint` and `http_endpoint` are for OTEL_EXPORTER_OTLP_ENDPOINT."""

    def __init__(self, folder: Path, grpc: str, http: str) -> None:
        self._folder = folder
        self.grpc_endpoint, self.http_endpoint = f"http://{grpc}", f"http://{http}"

    @property
    def spans(self) -> list[ReceivedSpan]:
        return [
            span
            for request in self._read("traces", ExportTraceServiceRequest)
            for span in received_spans(request)
        ]

    @property
    def metrics(self) -> Received:
        """The newest of each."""
        found: Received = {}
        for request in self._read("metrics", ExportMetricsServiceRequest):
            found |= newest(request)
        return found

    def wait(
        self, complete: Callable[[list[ReceivedSpan]], bool], timeout_s: float = 60
    ) -> list[ReceivedSpan]:
        """The spans, once there are all that are expected."""
        return _until(lambda: self.spans, complete, timeout_s)

    def wait_metrics(self, complete: Callable[[Received], bool], timeout_s: float = 60) -> Received:
        """The metrics, once there are all that are expected."""
        return _until(lambda: self.metrics, complete, timeout_s)

    def _read(self, signal: str, kind: type[Kind]) -> Iterator[Kind]:
        file = self._folder / f"{signal}.json"
        # The last line may be half written.
        for line in file.read_text().splitlines(keepends=True) if file.exists() else ():
            if line.endswith("\n"):
                yield ParseDict(_protobuf_json(json.loads(line)), kind())


@asynccontextmanager
async def collector(folder: Path) -> AsyncIterator[Collector]:
    """A collector on two free ports, with its files in this folder."""
    built = GoCollector().built
    grpc, http = free_address(), free_address()
    config = folder / "collector.yaml"
    config.write_text(_CONFIG.format(grpc=grpc, http=http, folder=folder))
    words = [str(built / "collector"), "--config", str(config)]
    process = Process("collector", words, log=folder / "collector.log")
    try:
        await until(lambda: not process.alive or all(map(_listens, (grpc, http))), "the collector listens")
        assert process.alive, process.output()
        yield Collector(folder, grpc, http)
        assert process.alive, process.output()
    finally:
        process.cleanup()


def _listens(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _protobuf_json(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {each: _protobuf_json(inner, each) for each, inner in value.items()}
    if isinstance(value, list):
        return [_protobuf_json(each) for each in value]
    if key in _IDS and re.fullmatch("[0-9a-f]*", value):
        return base64.b64encode(bytes.fromhex(value)).decode()
    return value


def _until(look: Callable[[], Found], complete: Callable[[Found], bool], timeout_s: float) -> Found:
    ends_at = time.monotonic() + timeout_s
    while not complete(found := look()):
        assert time.monotonic() < ends_at, f"only this came: {found}"
        time.sleep(0.1)
    return found
