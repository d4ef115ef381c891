"""What a coordinator shows as hosted, it takes calls of, wherever the agent is connected."""

from __future__ import annotations

import asyncio

from tests.support import schema
from tests.support.lightweight import LightAgent
from tests.support.mesh import MeshHarness
from weft.v1 import coordinator_pb2 as pb
from weft.v1 import method_pb2, method_pb2_grpc

ROUNDS = 4


async def test_a_method_that_is_shown_takes_calls(doors: tuple[MeshHarness, MeshHarness]) -> None:
    here, there = doors
    for number in range(ROUNDS):
        method = f"shown{number}.v1.Service/Call"
        contract = schema.file_set(schema.file(f"shown{number}.proto", package=f"shown{number}.v1"))

        async def listed(method: str = method) -> None:
            """By the list of agents, at the other coordinator."""
            while not (await there.api().ListAgents(pb.ListAgentsRequest(method=method), timeout=5)).agents:
                pass

        async def watched(method: str = method) -> None:
            """By what watchers are told."""
            request = pb.WatchAgentsRequest(methods=[method])
            async for answer in there.api().WatchAgents(request, timeout=20):
                if any(method in {each.name for each in agent.methods} for agent in answer.agents):
                    return

        waiting = asyncio.create_task((listed if number % 2 else watched)())
        async with LightAgent(
            here.channel(), f"a{number}", methods=(method,), contract=contract, heartbeats=False
        ):
            async with asyncio.timeout(20):
                await waiting
            call = there.channel().unary_unary(f"/{method}")
            assert await call(b"", timeout=10) == b""
            stub = method_pb2_grpc.MethodServiceStub(there.channel())
            known = await stub.GetMethod(method_pb2.GetMethodRequest(name=method), timeout=5)
            assert known.method.name == method
