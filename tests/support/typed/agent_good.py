"""Right uses of `weft.agent`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from probe.v1 import probe_pb2, probe_pb2_grpc
from weft.agent import Agent, Lock, MethodOptions, RetryPolicy, RunLimit, current_task

agent = Agent("a", slots=4, labels={"zone": "eu"})


@agent.method("acme.v1.Shouter/Shout", slot_cost=2)
async def shout(request: dict[str, Any]) -> dict[str, Any]:
    return {"text": str(request["text"]).upper(), "task": current_task().id}


@agent.method(
    "acme.v1.Shouter/Echo",
    retry=RetryPolicy(max_attempts=3, retryable_codes=[grpc.StatusCode.ABORTED]),
    start_to_close_s=30,
    mode="direct",
    run_limits=[RunLimit('metadata["x-tenant"]', max_running=1, at_limit="refuse")],
    locks=["db-migrate", Lock("disk", shared=True)],
    consumes={"gpu": 1},
)
def echo(request: probe_pb2.Payload, context: grpc.ServicerContext) -> probe_pb2.Payload:
    context.set_trailing_metadata((("x-a", "1"),))
    return request


@agent.method("acme.v1.Shouter/Count")
async def count(request: probe_pb2.ProbeRequest) -> AsyncIterator[probe_pb2.ProbeReply]:
    for index in range(request.stream_count):
        yield probe_pb2.ProbeReply(index=index)


def serve(servicer: probe_pb2_grpc.ProbeServiceServicer) -> None:
    shared = MethodOptions(priority=7, idempotent=True)
    options: dict[str, MethodOptions] = {"Call": {"cache_s": 10, "fairness_key": "text"}, "*": shared}
    agent.add_servicer(
        probe_pb2_grpc.add_ProbeServiceServicer_to_server, servicer, isolate=True, options=options
    )
    agent.run()
