"""Wrong uses of `weft.testing`."""

from __future__ import annotations

from typing import Any

from probe.v1 import probe_pb2, probe_pb2_grpc
from weft.testing import HandlerTask, mesh_of, run_handler


class Probe(probe_pb2_grpc.ProbeServiceServicer):
    async def Echo(self, request: probe_pb2.Payload, context: Any) -> probe_pb2.Payload:
        return request


async def test_handlers(probe: Probe) -> None:
    await run_handler(probe.Echo, 3)  # wrong
    reply = await run_handler(probe.Echo, probe_pb2.Payload())
    print(reply.text)  # wrong
    await run_handler(probe.Ehco, probe_pb2.Payload())  # wrong
    HandlerTask(number=3)  # wrong
    async with mesh_of(probe) as mesh:  # wrong
        mesh.clock.forward(3600)  # wrong
