"""The probe service: handlers that follow their request. `weft agent tests.support.probe:agent` hosts it.

`probe.proto` has the meaning of every field. The three flavours of `Call` behave alike; they differ in where they run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "gen"))

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from probe.v1 import probe_pb2, probe_pb2_grpc
from weft.agent import Agent, current_task

# How often a waiting handler checks whether it was cancelled.
LOOK_S = 0.01


class ProbeService(probe_pb2_grpc.ProbeServiceServicer):
    """All but CallIsolated."""

    async def Call(
        self, request: probe_pb2.ProbeRequest, context: grpc.aio.ServicerContext
    ) -> probe_pb2.ProbeReply:
        begin(request)
        try:
            if request.ignore_cancel:
                await _sleep_whatever_happens(request.sleep_s)
            else:
                await asyncio.sleep(request.sleep_s)
        except asyncio.CancelledError:
            note(request, "cancelled")
            raise
        burn(request.burn_s)
        crash(request)
        if fails(request):
            await context.abort_with_status(failure(request))
        return end(request, context)

    def CallSync(
        self, request: probe_pb2.ProbeRequest, context: grpc.ServicerContext
    ) -> probe_pb2.ProbeReply:
        return call_sync(request, context)

    async def Echo(self, request: probe_pb2.Payload, context: grpc.aio.ServicerContext) -> probe_pb2.Payload:
        return request

    async def Stream(
        self, request: probe_pb2.ProbeRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[probe_pb2.ProbeReply]:
        begin(request)
        try:
            for index in range(1, request.stream_count + 1):
                await asyncio.sleep(request.sleep_s)
                yield reply(request, context, index)
        except asyncio.CancelledError:
            note(request, "cancelled")
            raise
        crash(request)
        if fails(request):
            await context.abort_with_status(failure(request))
        note(request, "end")

    async def Collect(
        self, request_iterator: AsyncIterator[probe_pb2.ProbeRequest], context: grpc.aio.ServicerContext
    ) -> probe_pb2.ProbeReply:
        texts = [request.text async for request in request_iterator]
        return probe_pb2.ProbeReply(text=" ".join(texts))

    async def Chat(
        self, request_iterator: AsyncIterator[probe_pb2.ProbeRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[probe_pb2.ProbeReply]:
        async for request in request_iterator:
            yield probe_pb2.ProbeReply(text=request.text)


class IsolatedProbeService(probe_pb2_grpc.ProbeServiceServicer):
    """CallIsolated alone: the rest is left to the generated base class, and so is not hosted by this one."""

    def CallIsolated(
        self, request: probe_pb2.ProbeRequest, context: grpc.ServicerContext
    ) -> probe_pb2.ProbeReply:
        return call_sync(request, context)


def call_sync(request: probe_pb2.ProbeRequest, context: grpc.ServicerContext) -> probe_pb2.ProbeReply:
    begin(request)
    end_at = time.monotonic() + request.sleep_s
    while (left_s := end_at - time.monotonic()) > 0:
        if not request.ignore_cancel and not context.is_active():
            note(request, "cancelled")
            context.abort(grpc.StatusCode.CANCELLED, "the handler saw that it was cancelled")
        time.sleep(min(LOOK_S, left_s))
    burn(request.burn_s)
    crash(request)
    if fails(request):
        context.abort_with_status(failure(request))
    return end(request, context)


async def _sleep_whatever_happens(sleep_s: float) -> None:
    end_at = time.monotonic() + sleep_s
    while (left_s := end_at - time.monotonic()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(left_s)


def begin(request: probe_pb2.ProbeRequest) -> None:
    note(request, "start")
    if request.raise_text:
        raise RuntimeError(request.raise_text)


def burn(burn_s: float) -> None:
    """Hold the interpreter in pure Python."""
    end_at = time.monotonic() + burn_s
    while time.monotonic() < end_at:
        sum(range(1000))


def crash(request: probe_pb2.ProbeRequest) -> None:
    if current_task().attempt <= request.crash_attempts:
        os.kill(os.getpid(), signal.SIGKILL)


def fails(request: probe_pb2.ProbeRequest) -> bool:
    return bool(request.fail_code) and (
        request.fail_attempts == 0 or current_task().attempt <= request.fail_attempts
    )


def failure(request: probe_pb2.ProbeRequest) -> Any:
    status = status_pb2.Status(code=request.fail_code, message=request.fail_message)
    if request.fail_reason:
        _add(status, error_details_pb2.ErrorInfo(reason=request.fail_reason, domain="probe"))
    if request.retry_after_s:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMicroseconds(int(request.retry_after_s * 1e6))
        _add(status, retry)
    return rpc_status.to_status(status)


def _add(status: status_pb2.Status, detail: Any) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def end(request: probe_pb2.ProbeRequest, context: Any) -> probe_pb2.ProbeReply:
    if not request.no_trailers:
        # A trailer of text is ASCII.
        text = request.text.encode("ascii", "backslashreplace").decode()
        context.set_trailing_metadata((("probe-text", text), ("probe-bin", b"\x00\xff")))
    note(request, "end")
    return reply(request, context, 0)


def reply(request: probe_pb2.ProbeRequest, context: Any, index: int) -> probe_pb2.ProbeReply:
    task = current_task()
    left_s = context.time_remaining()
    return probe_pb2.ProbeReply(
        text=request.text,
        blob=request.blob or bytes(request.reply_size_bytes),
        index=index,
        agent_id=task.agent_id,
        task_id=task.id,
        attempt=task.attempt,
        metadata=list(_metadata_lines(context)),
        time_remaining_s=-1.0 if left_s is None else left_s,
    )


def _metadata_lines(context: Any) -> Iterator[str]:
    for key, value in context.invocation_metadata():
        yield f"{key}={value.hex() if isinstance(value, bytes) else value}"


def note(request: probe_pb2.ProbeRequest, what: str) -> None:
    """A line in the ledger; one write, so that lines of several processes do not mix."""
    if not request.ledger:
        return
    task = current_task()
    # Not `time.time`, which tests set off.
    now_s = time.clock_gettime(time.CLOCK_REALTIME)
    line = f"{what} {request.text} {task.attempt} {task.agent_id} {now_s:.6f}\n"
    descriptor = os.open(request.ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def make_agent(**settings: Any) -> Agent:
    """An agent that hosts the probe service."""
    made = Agent(**settings)
    made.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server, ProbeService())
    made.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server, IsolatedProbeService(), isolate=True)
    return made


agent = make_agent()
