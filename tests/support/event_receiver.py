"""A receiver of log records: the published collector service of OTLP over gRPC, which keeps every record."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.logs.v1 import logs_pb2


class EventReceiver(logs_service_pb2_grpc.LogsServiceServicer):
    """What has been received."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.records: list[logs_pb2.LogRecord] = []
        # Names of the services that sent them.
        self.services: set[str] = set()

    def Export(self, request: logs_service_pb2.ExportLogsServiceRequest, context: Any) -> Any:
        for resource in request.resource_logs:
            for attribute in resource.resource.attributes:
                if attribute.key == "service.name":
                    self.services.add(attribute.value.string_value)
            for scope in resource.scope_logs:
                self.records.extend(scope.log_records)
        return logs_service_pb2.ExportLogsServiceResponse()


@contextlib.contextmanager
def event_receiver() -> Iterator[EventReceiver]:
    """A receiver on a free port."""
    receiver = EventReceiver()
    server = grpc.server(ThreadPoolExecutor(1))
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(receiver, server)
    receiver.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield receiver
    finally:
        server.stop(0).wait()
