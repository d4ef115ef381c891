"""`mesh.channel(direct=True)` on real agents: who answers, without a coordinator, and when agents die."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import pytest

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.mesh import MeshHarness
from weft.client import Mesh, call_options, connect
from weft.rpc.errors import InvalidArgument, from_call
from weft.v1 import errors_pb2

CALL = "probe.v1.ProbeService/Call"


@pytest.fixture
async def client(mesh: MeshHarness) -> AsyncIterator[Mesh]:
    await mesh.coordinator()
    for name in ("a1", "a2", "a3"):
        await mesh.agent(name, slots=32, program="tests.support.plain:agent")
    async with connect(mesh.target) as connected:
        yield connected


def stub(client: Mesh, policy: str = "least_connections") -> probe_pb2_grpc.ProbeServiceStub:
    return probe_pb2_grpc.ProbeServiceStub(client.channel(direct=True, policy=policy))


async def known(client: Mesh, count: int) -> None:
    async with asyncio.timeout(20):
        while sum(c.connected for c in client.direct().balancer.explain(CALL).candidates) != count:
            await asyncio.sleep(0.01)


async def answered(client: Mesh, calls: int, **fields: object) -> Counter[str]:
    """Who answers, of calls made at the same time."""
    request = probe_pb2.ProbeRequest(text="hi", **fields)
    replies = await asyncio.gather(*(stub(client).Call(request, timeout=20) for _ in range(calls)))
    return Counter(reply.agent_id for reply in replies)


async def test_direct_calls_are_spread_and_no_tasks(mesh: MeshHarness, client: Mesh) -> None:
    # The first one waits for the first snapshot.
    assert (await answered(client, 1)).total() == 1
    await known(client, 3)
    assert await answered(client, 12, sleep_s=0.2) == {"a1": 4, "a2": 4, "a3": 4}
    assert [task async for task in client.tasks.list()] == []
    # The agents' load comes back with every answer.
    stats = client.direct().balancer.stats
    assert stats.picks.total() == 13
    assert client.direct() is client.direct("least_connections")
    with pytest.raises(InvalidArgument):
        client.channel(direct=True, policy="best")


async def test_all_shapes(client: Mesh) -> None:
    probe = stub(client, "round_robin")
    stream = probe.Stream(probe_pb2.ProbeRequest(text="s", stream_count=3), timeout=20)
    assert [reply.index async for reply in stream] == [1, 2, 3]
    requests = [probe_pb2.ProbeRequest(text=text) for text in "abc"]
    assert (await probe.Collect(iter(requests), timeout=20)).text
    chat = probe.Chat(timeout=20)
    await chat.write(requests[0])
    assert (await chat.read()).text == "a"
    await chat.done_writing()
    assert await chat.read() is grpc.aio.EOF
    assert await chat.code() is grpc.StatusCode.OK


async def test_the_coordinator_is_not_needed(mesh: MeshHarness, client: Mesh) -> None:
    await answered(client, 1)
    await known(client, 3)
    assert mesh.coordinator_process is not None
    await mesh.coordinator_process.kill()
    assert (await answered(client, 30)).total() == 30
    await mesh.restart_coordinator()
    for name in ("a1", "a2", "a3"):
        await mesh.wait_agent(name)
        # Without a hiccup, while the agents come back to the coordinator.
        assert (await answered(client, 10)).total() == 10
    await mesh.agent("a4", slots=32, program="tests.support.plain:agent")
    await known(client, 4)


async def test_a_killed_agent_costs_no_call_that_may_run_twice(mesh: MeshHarness, client: Mesh) -> None:
    await answered(client, 1)
    await known(client, 3)
    probe = stub(client)
    request = probe_pb2.ProbeRequest(text="hi", sleep_s=0.5)
    metadata = call_options(retry_unavailable=True)
    calls = [probe.Call(request, timeout=20, metadata=metadata) for _ in range(30)]
    victim = mesh.agents["a2"]
    while any(c.in_flight < 10 for c in client.direct().balancer.explain(CALL).candidates):
        await asyncio.sleep(0.01)
    # They are at their agents once another call has been there and back.
    await answered(client, 3)
    await victim.kill()
    replies = await asyncio.gather(*calls)
    assert {reply.agent_id for reply in replies} == {"a1", "a3"}
    assert client.direct().balancer.stats.retries >= 10
    # It leaves discovery.
    await known(client, 2)


async def test_nobody_takes_direct_calls(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("a1", env={"WEFT_AGENT_LISTEN": "off"}, program="tests.support.plain:agent")
    async with connect(mesh.target) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(client).Call(probe_pb2.ProbeRequest(), timeout=20)
        error = from_call(caught.value)
        assert error.reason == errors_pb2.ERROR_REASON_NO_AGENT
        # A durable one it does.
        probe = probe_pb2_grpc.ProbeServiceStub(client.channel())
        assert (await probe.Call(probe_pb2.ProbeRequest(text="hi"), timeout=20)).text == "hi"


async def test_it_is_explained(client: Mesh) -> None:
    explained = await client.direct().explain(CALL, 10.0)
    assert {c.agent_id for c in explained.candidates} == {"a1", "a2", "a3"}
    assert all(c.connected and c.available and c.weight == 32 for c in explained.candidates)
    assert await answered(client, 1) == {explained.chosen: 1}
