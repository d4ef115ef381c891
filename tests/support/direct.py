"""Agents that run on the test's own event loop, called directly: no coordinator, unless a test brings one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.probe import IsolatedProbeService, ProbeService, begin, call_sync, note, reply
from tests.support.processes import until
from weft.agent import Agent
from weft.client import Mesh

# Nobody listens there.
NO_COORDINATOR = "127.0.0.1:1"
WAIT_S = 15.0


class SyncProbeService(probe_pb2_grpc.ProbeServiceServicer):
    """The probe service with sync handlers alone, streams and all."""

    def Call(self, request: probe_pb2.ProbeRequest, context: grpc.ServicerContext) -> probe_pb2.ProbeReply:
        return call_sync(request, context)

    def Stream(
        self, request: probe_pb2.ProbeRequest, context: grpc.ServicerContext
    ) -> Iterator[probe_pb2.ProbeReply]:
        begin(request)
        try:
            for index in range(1, request.stream_count + 1):
                time.sleep(request.sleep_s)
                yield reply(request, context, index)
        except GeneratorExit:
            note(request, "cancelled")
            raise
        note(request, "end")

    def Collect(
        self, request_iterator: Iterator[probe_pb2.ProbeRequest], context: grpc.ServicerContext
    ) -> probe_pb2.ProbeReply:
        return probe_pb2.ProbeReply(text=" ".join(request.text for request in request_iterator))

    def Chat(
        self, request_iterator: Iterator[probe_pb2.ProbeRequest], context: grpc.ServicerContext
    ) -> Iterator[probe_pb2.ProbeReply]:
        for request in request_iterator:
            yield probe_pb2.ProbeReply(text=request.text)


def probe_agent(
    *servicers: probe_pb2_grpc.ProbeServiceServicer, isolated: bool = False, **settings: Any
) -> Agent:
    """An agent with these servicers; by default the async one."""
    given: dict[str, Any] = {"agent_id": "d1", "target": NO_COORDINATOR, "slots": 4} | settings
    agent = Agent(**given)
    for servicer in servicers or (ProbeService(),):
        agent.add_servicer(probe_pb2_grpc.add_ProbeServiceServicer_to_server, servicer)
    if isolated:
        agent.add_servicer(
            probe_pb2_grpc.add_ProbeServiceServicer_to_server, IsolatedProbeService(), isolate=True
        )
    return agent


@asynccontextmanager
async def serving(agent: Agent) -> AsyncIterator[grpc.aio.Channel]:
    """Run an agent for the length of a block; yields a stock channel to its direct server."""
    run = asyncio.ensure_future(agent.serve())
    try:
        await until(lambda: bool(agent.direct_address) or run.done(), "the direct server is open")
        if run.done():
            run.result()
        async with grpc.aio.insecure_channel(agent.direct_address) as channel:
            yield channel
    finally:
        agent.stop()
        agent.stop()
        await asyncio.wait_for(run, WAIT_S)


def used_slots(agent: Agent) -> int:
    """Slots that direct calls have now."""
    runtime = agent._runtime
    assert runtime is not None
    return runtime._slots.direct


async def known(client: Mesh, *agents: str) -> None:
    """Wait until these agents are connected for direct calls of the probe service, and no others."""

    def connected() -> set[str]:
        candidates = client.direct().balancer.explain("probe.v1.ProbeService/Call").candidates
        return {each.agent_id for each in candidates if each.connected}

    await until(lambda: connected() == set(agents), f"{agents} are connected", timeout_s=WAIT_S)
