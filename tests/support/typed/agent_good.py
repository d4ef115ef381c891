"""Right uses of `weft.agent`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from probe.v1 import probe_pb2, probe_pb2_grpc
from weft.agent import Agent, current_task

agent = Agent("a", slots=4, labels={"zone": "eu"})


@agent.method("acme.v1.Shouter/Shout", slot_cost=2)
async def shout(request: dict[str, Any]) -> dict[str, Any]:
    return {"text": str(request["text"]).upper(), "task": current_task().id}


@agent.method("acme.v1.Shouter/Echo")
def echo(request: probe_pb2.Payload, context: grpc.ServicerContext) -> probe_pb2.Payload:
    context.set_trailing_metadata((("x-a", "1"),))
    return request


@agent.method("acme.v1.Shouter/Count")
async def count(request: probe_pb2.ProbeRequest) -> AsyncIterator[probe_pb2.ProbeReply]:
    for index in range(request.stream_count):
        yield probe_pb2.ProbeReply(index=index)


def serve(servicer: probe_pb2_grpc.ProbeServiceServicer) -> None:
    agent.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server, servicer, isolate=True)
    agent.run()
