"""`os.fork` in a handler: the child is never the agent, however it leaves the handler."""

from __future__ import annotations

import contextlib
import signal
import sys

import grpc
import grpc.aio
import psutil
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.support.forking_agent import LEAVES, SERVICE
from tests.support.mesh import MeshHarness
from tests.support.processes import Process
from weft.v1 import coordinator_pb2, fleet_pb2

PROGRAM = "tests.support.forking_agent:agent"
UNARY = ("Sync", "Async", "Isolated")
STREAMING = ("SyncStream", "AsyncStream", "IsolatedStream")
AWAITS = ("itself", "in a task", "in a thread", "in a callback")
MODES = ("durable", "direct")


async def call(mesh: MeshHarness, name: str, value: str, mode: str = "durable") -> list[str]:
    """Every response of a call."""
    shape = mesh.channel().unary_stream if name in STREAMING else mesh.channel().unary_unary
    request = StringValue(value=value).SerializeToString()
    made = shape(f"/{SERVICE}/{name}")(request, timeout=30, metadata=[("weft-mode", mode)])
    answers = [each async for each in made] if name in STREAMING else [await made]
    return [StringValue.FromString(answer).value for answer in answers]


async def connection(mesh: MeshHarness) -> tuple[int, int]:
    answer = await mesh.api().GetAgent(coordinator_pb2.GetAgentRequest(agent_id="a1"), timeout=5)
    return answer.agent.epoch, answer.agent.stale_results_refused


def children(process: Process) -> set[int]:
    """Copies of the agent's process: what still runs its program."""
    own = psutil.Process(process.pid)
    found = set()
    for child in own.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if child.cmdline() == own.cmdline():
                found.add(child.pid)
    return found


@pytest.mark.slow
async def test_a_forked_child_ends_where_it_would_become_the_agent(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    agent = await mesh.agent("a1", slots=4, program=PROGRAM)
    before = await connection(mesh)
    for name in (*UNARY, *STREAMING):
        for mode in MODES:
            for how, status in LEAVES.items():
                assert await call(mesh, name, how, mode) == [str(status)], (name, mode, how, mesh.logs())
    for how in AWAITS:
        for mode in MODES:
            assert await call(mesh, "Awaits", how, mode) == ["1"], (how, mode, mesh.logs())
    assert not children(agent)
    # The same session, without a break, and nothing that was told twice.
    assert await connection(mesh) == before
    assert "came back to the agent" in agent.output()
    assert "of the child" in agent.output()
    assert "the child's answer" not in agent.output()


@pytest.mark.slow
async def test_the_same_on_the_applications_own_loop(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    settings = {"WEFT_TARGET": mesh.target, "WEFT_AGENT_ID": "a1"}
    command = [sys.executable, "-m", "tests.support.forking_agent"]
    agent = mesh.agents["a1"] = Process("a1", command, log=mesh.folder / "a1.log", env=settings)
    await mesh.wait_agent("a1", instance_of=agent)
    await mesh.wait_serving(SERVICE)
    before = await connection(mesh)
    for mode in MODES:
        for name in ("Async", "Sync", "Isolated"):
            assert await call(mesh, name, "raises", mode) == ["1"], (name, mode, mesh.logs())
        for how in AWAITS:
            assert await call(mesh, "Awaits", how, mode) == ["1"], (how, mode, mesh.logs())
    assert not children(agent)
    assert await connection(mesh) == before


async def test_children_of_the_standard_library_work(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    agent = await mesh.agent("a1", slots=4, program=PROGRAM)
    for mode in MODES:
        assert await call(mesh, "Works", "", mode) == ["0 0" + 3 * " 0 0 1"]
        if sys.platform == "linux":
            # With threads of gRPC's in it, a child ended by SIGABRT now and then.
            assert await call(mesh, "Threads", "", mode) == ["1"]
    assert "came back to the agent" not in agent.output()


async def test_a_child_that_stays_has_nothing_of_a_killed_agent(mesh: MeshHarness) -> None:
    await mesh.coordinator(reconnect_grace_s=60)
    agent = await mesh.agent("a1", slots=4, program=PROGRAM)
    (number,) = await call(mesh, "Leaves", "")
    child = psutil.Process(int(number))
    try:
        found = await mesh.api().GetAgent(coordinator_pb2.GetAgentRequest(agent_id="a1"), timeout=5)
        await agent.kill()
        # At once, long before its heartbeats are missed: its connection has ended with it.
        await mesh.wait_agent("a1", fleet_pb2.AGENT_STATE_SUSPECT, timeout_s=2)
        assert child.is_running()
        async with grpc.aio.insecure_channel(found.agent.advertised_address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(f"/{SERVICE}/Sync")(b"", timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        child.send_signal(signal.SIGKILL)
