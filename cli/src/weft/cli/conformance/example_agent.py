"""An example of an agent to check: `weft conformance --agent "weft agent weft.cli.conformance.example_agent:agent"`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from grpc_status import rpc_status

from weft.agent import Agent
from weft.conformance.v1 import conformance_pb2, conformance_pb2_grpc
from weft.rpc.times import seconds

METADATA_KEY = "x-weft-conformance"


class Conformance(conformance_pb2_grpc.ConformanceServiceServicer):
    """The service of conformance.proto."""

    def __init__(self) -> None:
        self._waits_started = 0
        self._waits_cancelled = 0

    async def Echo(self, request: conformance_pb2.EchoRequest, context: Any) -> conformance_pb2.EchoResponse:
        metadata = dict(context.invocation_metadata() or ())
        return conformance_pb2.EchoResponse(
            payload=request.payload,
            metadata=metadata.get(METADATA_KEY, ""),
            waits_started=self._waits_started,
            waits_cancelled=self._waits_cancelled,
        )

    async def Wait(self, request: conformance_pb2.WaitRequest, context: Any) -> conformance_pb2.WaitResponse:
        self._waits_started += 1
        waiting = asyncio.ensure_future(asyncio.sleep(seconds(request.time)))
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self._waits_cancelled += 1
            if request.ignore_cancellation:
                await waiting
            raise
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                waiting.cancel()
        return conformance_pb2.WaitResponse()

    async def Fail(self, request: conformance_pb2.FailRequest, context: Any) -> conformance_pb2.FailResponse:
        await context.abort_with_status(rpc_status.to_status(request.status))
        return conformance_pb2.FailResponse()

    async def Count(
        self, request: conformance_pb2.CountRequest, context: Any
    ) -> AsyncIterator[conformance_pb2.CountResponse]:
        for number in range(1, request.count + 1):
            yield conformance_pb2.CountResponse(number=number)


agent = Agent()
agent.add_servicer(conformance_pb2_grpc.add_ConformanceServiceServicer_to_server, Conformance())
