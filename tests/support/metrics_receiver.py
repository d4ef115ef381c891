"""A receiver of metrics: the published collector service of OTLP over gRPC, which keeps every export."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.metrics.v1 import metrics_pb2

# By (service name, metric): the newest.
Received = dict[tuple[str, str], metrics_pb2.Metric]


def newest(request: metrics_service_pb2.ExportMetricsServiceRequest) -> Received:
    """The metrics of one export."""
    found: Received = {}
    for process in request.resource_metrics:
        pairs = {pair.key: pair.value.string_value for pair in process.resource.attributes}
        for scope in process.scope_metrics:
            for metric in scope.metrics:
                found[pairs["service.name"], metric.name] = metric
    return found


class MetricsReceiver:
    """What has been received. `endpoint` is for OTEL_EXPORTER_OTLP_ENDPOINT."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.metrics: Received = {}
        self._changed = threading.Condition()

    def take(self, request: metrics_service_pb2.ExportMetricsServiceRequest) -> None:
        with self._changed:
            self.metrics |= newest(request)
            self._changed.notify_all()

    def wait(self, complete: Callable[[Received], bool], timeout_s: float = 30) -> Received:
        """The metrics, once there are all that are expected."""
        ends_at = time.monotonic() + timeout_s
        with self._changed:
            while not complete(self.metrics):
                left_s = ends_at - time.monotonic()
                assert left_s > 0, f"only these metrics came: {sorted(self.metrics)}"
                self._changed.wait(left_s)
            return dict(self.metrics)


@contextmanager
def metrics_receiver() -> Iterator[MetricsReceiver]:
    """A receiver on a free port."""
    receiver = MetricsReceiver()

    class Servicer(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: metrics_service_pb2.ExportMetricsServiceRequest, context: Any) -> Any:
            receiver.take(request)
            return metrics_service_pb2.ExportMetricsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Servicer(), server)
    receiver.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield receiver
    finally:
        server.stop(0).wait()
