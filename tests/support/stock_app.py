"""A stock gRPC server, as people have one: `grpc.server`, the probe's methods, no weft in it.

    python -m tests.support.stock_app 127.0.0.1:50051 --name app

It does what a `ProbeRequest` says, as tests/support/probe.py does, but for `CallIsolated`: that calls `Call` through the
egress, in the mode that is its `fail_reason`, as the step that its metadata `x-step` names, and passes the metadata of its own call on. It fails at
attempts up to `fail_attempts`, and after its call at attempts up to `crash_attempts`. `--reflection garbage` answers every question with rubbish. `--drains`: at SIGTERM it finishes the calls under way.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from corpus.v1 import corpus_pb2, corpus_pb2_grpc
from probe.v1 import probe_pb2, probe_pb2_grpc

SERVICE = probe_pb2.DESCRIPTOR.services_by_name["ProbeService"].full_name
LOOK_S = 0.01


def _state(text: str, given: dict[str, Any]) -> tuple[tuple[str, str | bytes], ...]:
    """Trailing metadata that change the state of the call's task: "state count", or others."""
    count = str(int(given.get("weft-state-bin", b"0")) + 1).encode()
    counted = (("weft-state-bin", count), ("weft-state-type", "json"))
    return {
        "count": counted,
        "keep": (*counted, ("weft-state-ttl", "60")),
        "wrong": (*counted, ("weft-state-ttl", "soon")),
        "delete": (("weft-state-delete", "true"),),
    }[text.removeprefix("state ")]


class StockProbe(probe_pb2_grpc.ProbeServiceServicer):
    """The probe's methods, as for any server."""

    def __init__(self, name: str, egress: str, health_servicer: health.HealthServicer) -> None:
        self._name = name
        self._mesh = grpc.insecure_channel(egress) if egress else None
        self._health = health_servicer

    def Call(self, request: probe_pb2.ProbeRequest, context: grpc.ServicerContext) -> probe_pb2.ProbeReply:
        self._note(request, context, "start")
        if request.text.startswith("health "):
            _, service, status = request.text.split()
            self._health.set(service.strip('"'), health_pb2.HealthCheckResponse.ServingStatus.Value(status))
        ends_at = time.monotonic() + request.sleep_s
        while (left_s := ends_at - time.monotonic()) > 0:
            if not context.is_active():
                self._note(request, context, "cancelled")
                context.abort(grpc.StatusCode.CANCELLED, "seen")
            time.sleep(min(LOOK_S, left_s))
        if 0 < attempt(context) <= request.crash_attempts:
            os.kill(os.getpid(), signal.SIGKILL)
        context.send_initial_metadata((("probe-head", "first"), ("probe-head-bin", b"\x01\xfe")))
        self._fail(request, context)
        if request.text.startswith("state "):
            context.set_trailing_metadata(_state(request.text, dict(context.invocation_metadata())))
        elif not request.no_trailers:
            context.set_trailing_metadata((("probe-text", request.text), ("probe-bin", b"\x00\xff")))
        self._note(request, context, "end")
        return self._reply(request, context, 0)

    def CallSync(
        self, request: probe_pb2.ProbeRequest, context: grpc.ServicerContext
    ) -> probe_pb2.ProbeReply:
        return self.Call(request, context)

    def CallIsolated(
        self, request: probe_pb2.ProbeRequest, context: grpc.ServicerContext
    ) -> probe_pb2.ProbeReply:
        assert self._mesh is not None, "started without an egress"
        if attempt(context) <= request.fail_attempts:
            self._fail(request, context)
        given = [(key, value) for key, value in context.invocation_metadata() if key != "user-agent"]
        if request.fail_reason:
            given.append(("weft-mode", request.fail_reason))
        given += [("weft-step", value) for key, value in given if key == "x-step"]
        inner = probe_pb2.ProbeRequest(text=request.text, sleep_s=request.sleep_s, ledger=request.ledger)
        # No deadline of its own.
        reply = probe_pb2_grpc.ProbeServiceStub(self._mesh).Call(inner, metadata=given)
        if attempt(context) <= request.crash_attempts:
            context.abort(grpc.StatusCode.UNAVAILABLE, "after its call")
        return reply

    def Echo(self, request: probe_pb2.Payload, context: grpc.ServicerContext) -> probe_pb2.Payload:
        return request

    def Stream(
        self, request: probe_pb2.ProbeRequest, context: grpc.ServicerContext
    ) -> Iterator[probe_pb2.ProbeReply]:
        self._note(request, context, "start")
        for index in range(1, request.stream_count + 1):
            time.sleep(request.sleep_s)
            if not context.is_active():
                self._note(request, context, "cancelled")
                return
            yield self._reply(request, context, index)
        self._fail(request, context)
        self._note(request, context, "end")

    def Collect(
        self, request_iterator: Iterator[probe_pb2.ProbeRequest], context: grpc.ServicerContext
    ) -> probe_pb2.ProbeReply:
        return probe_pb2.ProbeReply(text=" ".join(request.text for request in request_iterator))

    def Chat(
        self, request_iterator: Iterator[probe_pb2.ProbeRequest], context: grpc.ServicerContext
    ) -> Iterator[probe_pb2.ProbeReply]:
        for request in request_iterator:
            yield probe_pb2.ProbeReply(text=request.text)

    def _reply(
        self, request: probe_pb2.ProbeRequest, context: grpc.ServicerContext, index: int
    ) -> probe_pb2.ProbeReply:
        left_s = context.time_remaining()
        given = context.invocation_metadata()
        lines = [f"{key}={value.hex() if isinstance(value, bytes) else value}" for key, value in given]
        return probe_pb2.ProbeReply(
            text=request.text,
            blob=request.blob or bytes(request.reply_size_bytes),
            index=index,
            agent_id=self._name,
            task_id=dict(given).get("weft-task-id", ""),
            attempt=attempt(context),
            metadata=lines,
            # Without a deadline gRPC's sync servers give a huge number.
            time_remaining_s=-1.0 if left_s is None or left_s > 1e8 else left_s,
        )

    def _fail(self, request: probe_pb2.ProbeRequest, context: grpc.ServicerContext) -> None:
        if not request.fail_code:
            return
        status = status_pb2.Status(code=request.fail_code, message=request.fail_message)
        if request.fail_reason:
            packed = any_pb2.Any()
            packed.Pack(error_details_pb2.ErrorInfo(reason=request.fail_reason, domain="probe"))
            status.details.append(packed)
        context.abort_with_status(rpc_status.to_status(status))

    def _note(self, request: probe_pb2.ProbeRequest, context: grpc.ServicerContext, what: str) -> None:
        if request.ledger:
            line = f"{what} {request.text} {attempt(context)} {self._name} {time.time():.6f}\n"
            with open(request.ledger, "a") as ledger:  # noqa: PTH123 - one write, appended
                ledger.write(line)


class Garbage(reflection_pb2_grpc.ServerReflectionServicer):
    """Reflection that answers every question with the same rubbish."""

    def ServerReflectionInfo(self, request_iterator: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for question in request_iterator:
            if question.HasField("list_services"):
                service = reflection_pb2.ServiceResponse(name=SERVICE)
                listed = reflection_pb2.ListServiceResponse(service=[service])
                yield reflection_pb2.ServerReflectionResponse(list_services_response=listed)
            else:
                file = reflection_pb2.FileDescriptorResponse(file_descriptor_proto=[b"\xff\x00rubbish"])
                yield reflection_pb2.ServerReflectionResponse(file_descriptor_response=file)


def attempt(context: grpc.ServicerContext) -> int:
    return int(dict(context.invocation_metadata()).get("weft-attempt", 0))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--name", default="app")
    parser.add_argument("--reflection", choices=("yes", "no", "empty", "garbage"), default="yes")
    parser.add_argument("--health", action="store_true")
    parser.add_argument("--corpus", action="store_true", help="offer one more service")
    parser.add_argument("--egress", default="")
    parser.add_argument("--drains", action="store_true", help="finish the calls under way at SIGTERM")
    parser.add_argument("--cert", default="")
    parser.add_argument("--key", default="")
    given = parser.parse_args()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
    health_servicer = health.HealthServicer()
    if given.health:
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
        health_servicer.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
    servicer = StockProbe(given.name, given.egress, health_servicer)
    probe_pb2_grpc.add_ProbeServiceServicer_to_server(servicer, server)
    names = [SERVICE, reflection.SERVICE_NAME]
    if given.corpus:
        corpus_pb2_grpc.add_CorpusServiceServicer_to_server(corpus_pb2_grpc.CorpusServiceServicer(), server)
        names.append(corpus_pb2.DESCRIPTOR.services_by_name["CorpusService"].full_name)
    if given.reflection == "yes":
        reflection.enable_server_reflection(names, server)
    elif given.reflection == "empty":
        reflection.enable_server_reflection([reflection.SERVICE_NAME, health.SERVICE_NAME], server)
    elif given.reflection == "garbage":
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(Garbage(), server)
    if given.cert:
        pair = Path(given.key).read_bytes(), Path(given.cert).read_bytes()
        server.add_secure_port(given.address, grpc.ssl_server_credentials([pair]))
    else:
        server.add_insecure_port(given.address)
    server.start()
    print("serving", given.address, flush=True)
    told = threading.Event()
    if given.drains:
        signal.signal(signal.SIGTERM, lambda *_: told.set())
    told.wait()
    server.stop(30).wait()


if __name__ == "__main__":
    sys.exit(main())
