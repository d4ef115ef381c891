"""`mesh.channel(direct=True)` on real agents: every shape, who answers, without a coordinator, and when agents come and go."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.beside import free_address
from tests.support.direct import known
from tests.support.mesh import MeshHarness
from weft.client import Mesh, MeshClosed, call_options, connect
from weft.rpc.errors import InvalidArgument, from_call
from weft.v1 import coordinator_pb2, errors_pb2, fleet_pb2

CALL = "probe.v1.ProbeService/Call"
PLAIN = "tests.support.plain:agent"
DIRECT = ("weft-mode", "direct")
WAIT_S = 20.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await start(harness, "a1", "a2")
        await harness.close_channels()
        yield harness


@pytest.fixture
async def client(pair: MeshHarness) -> AsyncIterator[Mesh]:
    """Of a mesh of two agents that the tests leave as they found it."""
    async with connect(pair.target) as connected:
        yield connected


async def start(mesh: MeshHarness, *agents: str) -> None:
    await mesh.coordinator()
    await asyncio.gather(*(mesh.agent(name, slots=32, program=PLAIN) for name in agents))


def stub(client: Mesh, policy: str = "least_connections") -> probe_pb2_grpc.ProbeServiceStub:
    return probe_pb2_grpc.ProbeServiceStub(client.channel(direct=True, policy=policy))


async def reached(mesh: MeshHarness, *agents: str) -> None:
    """Wait until the coordinator has reached the direct servers of these agents."""

    async def all_of_them() -> bool:
        found = (await mesh.api().ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=WAIT_S)).agents
        return {each.id for each in found if each.direct_state == fleet_pb2.DIRECT_STATE_REACHABLE} >= set(
            agents
        )

    await mesh.eventually(all_of_them, "the agents are reached")


async def answered(client: Mesh, calls: int, **fields: object) -> Counter[str]:
    """Who answers, of calls made at the same time."""
    request = probe_pb2.ProbeRequest(text="hi", **fields)
    replies = await asyncio.gather(*(stub(client).Call(request, timeout=WAIT_S) for _ in range(calls)))
    return Counter(reply.agent_id for reply in replies)


# -- a channel for any stub -----------------------------------------------------------------------------------------


async def test_direct_calls_are_spread_and_no_tasks(client: Mesh) -> None:
    # The first one waits for the first snapshot.
    assert (await answered(client, 1)).total() == 1
    await known(client, "a1", "a2")
    assert await answered(client, 12, sleep_s=0.2) == {"a1": 6, "a2": 6}
    assert [task async for task in client.tasks.list()] == []
    stats = client.direct().balancer.stats
    assert stats.picks.total() == 13
    assert (stats.retries, stats.no_agent, stats.bound_refusals) == (0, 0, 0)


@pytest.mark.parametrize("policy", ["least_connections", "round_robin", "weighted"])
async def test_all_shapes(client: Mesh, policy: str) -> None:
    probe = stub(client, policy)
    assert (await probe.Call(probe_pb2.ProbeRequest(text="u"), timeout=WAIT_S)).text == "u"
    stream = probe.Stream(probe_pb2.ProbeRequest(text="s", stream_count=3), timeout=WAIT_S)
    assert [reply.index async for reply in stream] == [1, 2, 3]
    requests = [probe_pb2.ProbeRequest(text=text) for text in "abc"]
    assert (await probe.Collect(iter(requests), timeout=WAIT_S)).text == "a b c"
    chat = probe.Chat(timeout=WAIT_S)
    for text in "xy":
        await chat.write(probe_pb2.ProbeRequest(text=text))
        assert (await chat.read()).text == text
    await chat.done_writing()
    assert await chat.read() is grpc.aio.EOF
    assert await chat.code() is grpc.StatusCode.OK
    assert client.direct(policy).balancer.stats.picks.total() == 4


async def test_a_policy_has_one_balancer(client: Mesh) -> None:
    assert client.direct() is client.direct("least_connections")
    assert client.direct() is not client.direct("weighted")
    with pytest.raises(InvalidArgument) as caught:
        client.channel(direct=True, policy="best")
    assert (
        caught.value.message
        == "there is no policy 'best'; there are least_connections, round_robin, weighted"
    )


async def test_it_is_explained(client: Mesh) -> None:
    explained = await client.direct().explain(CALL, 10.0)
    assert {c.agent_id for c in explained.candidates} == {"a1", "a2"}
    assert all(c.connected and c.available and c.weight == 32 for c in explained.candidates)
    assert explained.left_out == {}
    assert await answered(client, 1) == {explained.chosen: 1}


@pytest.mark.parametrize("direct", [True, False])
async def test_closing_a_channel_leaves_the_mesh_open(client: Mesh, direct: bool) -> None:
    for _ in range(2):
        async with client.channel(direct=direct) as channel:
            probe = probe_pb2_grpc.ProbeServiceStub(channel)
            assert (await probe.Call(probe_pb2.ProbeRequest(text="u"), timeout=WAIT_S)).text == "u"
            # By their places, as gRPC takes them of a stream of requests.
            requests = iter([probe_pb2.ProbeRequest(text="s")])
            assert (await probe.Collect(requests, WAIT_S, (DIRECT,))).text == "s"


async def test_closing_ends_what_runs_and_leaves_nothing(pair: MeshHarness) -> None:
    before = asyncio.all_tasks()
    client = connect(pair.target)
    probe = stub(client)
    await probe.Call(probe_pb2.ProbeRequest(), timeout=WAIT_S)
    held = probe.Call(probe_pb2.ProbeRequest(sleep_s=60), timeout=WAIT_S)
    chat = probe.Chat(timeout=WAIT_S)
    await chat.write(probe_pb2.ProbeRequest(text="a"))
    await chat.read()
    # Of this one even the agents are not known yet.
    early = stub(client, "weighted").Call(probe_pb2.ProbeRequest(sleep_s=60), timeout=WAIT_S)
    async with asyncio.timeout(5):
        await client.close()
        await client.close()
    assert held.cancelled()
    assert chat.cancelled()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await early
    with pytest.raises(MeshClosed):
        probe.Call(probe_pb2.ProbeRequest(), timeout=WAIT_S)
    for direct in (True, False):
        with pytest.raises(MeshClosed):
            client.channel(direct=direct, policy="round_robin")
    async with asyncio.timeout(5):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)


# -- the coordinator ------------------------------------------------------------------------------------------------


async def test_calls_before_the_coordinator_is_up(mesh: MeshHarness) -> None:
    target = free_address()
    async with connect(target) as client:
        early = [stub(client).Call(probe_pb2.ProbeRequest(text="early"), timeout=WAIT_S) for _ in range(5)]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(client).Call(probe_pb2.ProbeRequest(), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "for a coordinator" in (caught.value.details() or "")
        await mesh.coordinator(listen=target)
        # They wait for a coordinator that names the agents, not for agents.
        for call in early:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert from_call(caught.value).reason == errors_pb2.ERROR_REASON_NO_AGENT
        # But for those that say so.
        patient = stub(client).Call(probe_pb2.ProbeRequest(text="patient"), wait_for_ready=True)
        await mesh.agent("a1", program=PLAIN)
        assert (await patient).agent_id == "a1"
        await known(client, "a1")
        assert await answered(client, 3) == {"a1": 3}


class Steady:
    """Calls without a pause, and what went wrong."""

    def __init__(self) -> None:
        self.done = 0
        self.failed: list[str] = []
        # The fewest agents that were ever known.
        self.fewest = 1_000_000

    async def more(self, calls: int) -> None:
        wanted = self.done + calls
        async with asyncio.timeout(WAIT_S):
            while self.done < wanted:
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def running(self, client: Mesh, workers: int) -> AsyncIterator[None]:
        loops = [asyncio.create_task(self._loop(client)) for _ in range(workers)]
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _loop(self, client: Mesh) -> None:
        probe, balancer = stub(client), client.direct().balancer
        while True:
            try:
                await probe.Call(probe_pb2.ProbeRequest(text="hi", sleep_s=0.005), timeout=5)
            except grpc.aio.AioRpcError as error:
                self.failed.append(f"{error.code().name} {error.details()}")
            self.done += 1
            self.fewest = min(self.fewest, len(balancer.explain(CALL).candidates))


@pytest.mark.slow
async def test_without_the_coordinator_calls_go_on_and_discovery_resumes(mesh: MeshHarness) -> None:
    """No call fails, and no agent is forgotten, while it is killed, is away, and is back before its agents are."""
    await start(mesh, "a1", "a2")
    steady = Steady()
    async with connect(mesh.target) as client:
        await answered(client, 1)
        await known(client, "a1", "a2")
        async with steady.running(client, 4):
            for _ in range(2):
                assert mesh.coordinator_process is not None
                await mesh.coordinator_process.kill()
                await steady.more(200)
                await mesh.restart_coordinator()
                for name in ("a1", "a2"):
                    await mesh.wait_agent(name)
                await steady.more(100)
            # It hears of what is new.
            await mesh.agent("a3", slots=32, program=PLAIN)
            await known(client, "a1", "a2", "a3")
            assert steady.fewest == 2
            # Who leaves in good order costs nothing, either.
            for name in ("a1", "a2"):
                assert await mesh.agents[name].terminate() == 0
            await known(client, "a3")
            await steady.more(100)
        assert steady.failed == []
        assert client.direct().balancer.stats.picks["a3"] >= 100


# -- agents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["library", "coordinator"])
async def test_a_killed_agent_costs_no_call_that_may_run_twice(mesh: MeshHarness, by: str) -> None:
    await start(mesh, "a1", "a2", "a3")
    ledger = mesh.ledger()
    async with connect(mesh.target) as client:
        await answered(client, 1)
        await known(client, "a1", "a2", "a3")
        if by == "coordinator":
            await reached(mesh, "a1", "a2", "a3")
        probe = stub(client) if by == "library" else mesh.probe()
        metadata = call_options(retry_unavailable=True, metadata=() if by == "library" else [DIRECT])
        request = probe_pb2.ProbeRequest(text="hi", sleep_s=0.5, ledger=ledger.path)
        calls = [probe.Call(request, timeout=WAIT_S, metadata=metadata) for _ in range(30)]
        begun = await ledger.until("start", count=30)
        lost = sum(fact.agent_id == "a2" for fact in begun)
        assert lost > 0
        await mesh.agents["a2"].kill()
        replies = await asyncio.gather(*calls)
        assert {reply.agent_id for reply in replies} == {"a1", "a3"}
        assert len(ledger.facts("start")) == 30 + lost
        if by == "library":
            assert client.direct().balancer.stats.retries == lost
        # It leaves discovery.
        await known(client, "a1", "a3")


async def test_nobody_takes_direct_calls(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("a1", env={"WEFT_AGENT_LISTEN": "off"}, program=PLAIN)
    async with connect(mesh.target) as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub(client).Call(probe_pb2.ProbeRequest(), timeout=WAIT_S)
        error = from_call(caught.value)
        assert error.reason == errors_pb2.ERROR_REASON_NO_AGENT
        assert error.message == f"no agent takes direct calls of {CALL} now: a1 takes no direct calls"
        # A durable one it does.
        probe = probe_pb2_grpc.ProbeServiceStub(client.channel())
        assert (await probe.Call(probe_pb2.ProbeRequest(text="hi"), timeout=WAIT_S)).text == "hi"
