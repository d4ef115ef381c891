"""An advertised address is dialled as soon as an agent is there: whether it leads to the agent is said at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator

import grpc.aio

from tests.support.command import weft
from tests.support.lightweight import LightAgent
from tests.support.mesh import MeshHarness
from tests.support.processes import Process, until
from tests.support.watching import Watching
from weft.v1 import agent_pb2, agent_pb2_grpc, coordinator_pb2, fleet_pb2

REACHABLE = fleet_pb2.DIRECT_STATE_REACHABLE
UNREACHABLE = fleet_pb2.DIRECT_STATE_UNREACHABLE
# Refused connections and wrong answers are known at once; tests share their machine with others.
AT_ONCE_S = 1.0


class Describing(agent_pb2_grpc.AgentServiceServicer):
    def __init__(self, agent_id: str, instance_id: str) -> None:
        self.agent = fleet_pb2.Agent(id=agent_id, instance_id=instance_id)

    async def DescribeAgent(
        self, request: agent_pb2.DescribeAgentRequest, context: object
    ) -> agent_pb2.DescribeAgentResponse:
        return agent_pb2.DescribeAgentResponse(agent=self.agent)


@contextlib.asynccontextmanager
async def serving(servicer: Describing | None, port: int = 0) -> AsyncIterator[str]:
    """A server with this servicer, or with none; gives its address."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    if servicer is not None:
        agent_pb2_grpc.add_AgentServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def free_address() -> str:
    async with serving(None) as address:
        return address


async def found(watching: Watching, agent_id: str, state: fleet_pb2.DirectState) -> fleet_pb2.Agent:
    """The agent, once this has been found of it."""
    await watching.until(
        lambda agents: agent_id in agents and agents[agent_id].direct_state == state,
        f"{agent_id} is {fleet_pb2.DirectState.Name(state)}",
    )
    return watching.agents[agent_id]


async def test_an_agent_that_is_there(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with (
        serving(Describing("a1", "one")) as address,
        Watching(mesh.own_channel()) as watching,
        LightAgent(mesh.channel(), "a1", instance_id="one", advertised_address=address) as agent,
    ):
        seen = await found(watching, "a1", REACHABLE)
        assert (seen.advertised_address, seen.direct_problem) == (address, "")
        assert not [message for message in agent.received if message.direct_problem]
        one = await mesh.api().GetAgent(coordinator_pb2.GetAgentRequest(agent_id="a1"), timeout=5)
        assert one.agent.direct_state == REACHABLE


async def test_nobody_there_is_told_once_and_tried_again(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    address = await free_address()
    async with (
        Watching(mesh.own_channel()) as watching,
        LightAgent(mesh.channel(), "a1", instance_id="one", advertised_address=address) as agent,
    ):
        began_s = time.monotonic()
        seen = await found(watching, "a1", UNREACHABLE)
        assert time.monotonic() - began_s < AT_ONCE_S
        assert address in seen.direct_problem

        async def told() -> bool:
            return any(message.direct_problem for message in agent.received)

        await mesh.eventually(told, "the agent is told")
        # Somebody else comes there: another problem, of which the agent need not hear.
        async with serving(Describing("a2", "two"), int(address.rpartition(":")[2])):
            await watching.until(
                lambda agents: "a1" in agents and "'a2' answers" in agents["a1"].direct_problem,
                "who answers there",
            )
        async with serving(Describing("a1", "one"), int(address.rpartition(":")[2])):
            await found(watching, "a1", REACHABLE)
        assert [message.direct_problem for message in agent.received] == [seen.direct_problem]


async def test_somebody_else_or_something_else_there(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with contextlib.AsyncExitStack() as stack:
        # Connections are taken, and nothing is ever said.
        deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        addresses = {
            "twin": await stack.enter_async_context(serving(Describing("twin", "another"))),
            "plain": await stack.enter_async_context(serving(None)),
            "deaf": f"127.0.0.1:{deaf.getsockname()[1]}",
            "portless": "127.0.0.1",
            "listed": "127.0.0.1:1,127.0.0.1:2",
            "nonsense": "http://somewhere:80/",
            "nowhere": "no-such-host.invalid:80",
        }
        watching = await stack.enter_async_context(Watching(mesh.own_channel()))
        for agent_id, address in addresses.items():
            await stack.enter_async_context(
                LightAgent(mesh.channel(), agent_id, instance_id="one", advertised_address=address)
            )
        problems = {
            agent_id: (await found(watching, agent_id, UNREACHABLE)).direct_problem for agent_id in addresses
        }
    assert "another process of this agent answers" in problems["twin"]
    assert "is not a weft agent" in problems["plain"]
    assert problems["deaf"].startswith(("no answer from", "cannot connect to"))
    for agent_id in ("portless", "listed"):
        assert "not a single HOST:PORT" in problems[agent_id]
    assert "no port" in problems["nonsense"]
    assert "no-such-host.invalid" in problems["nowhere"]


async def test_a_real_agent_and_the_command(mesh: MeshHarness) -> None:
    """An agent is reached where it listens; one that advertises a wrong address says so in its log."""
    await mesh.coordinator()
    address = await free_address()
    async with Watching(mesh.own_channel()) as watching:
        await asyncio.gather(
            mesh.agent("good"),
            mesh.agent("bad", env={"WEFT_AGENT_ADVERTISED_ADDRESS": address}),
            mesh.agent("none", env={"WEFT_AGENT_LISTEN": "off"}),
        )
        await found(watching, "good", REACHABLE)
        await found(watching, "bad", UNREACHABLE)
        await watching.until(lambda agents: "none" in agents, "the third is there")
        assert watching.agents["none"].advertised_address == ""
        assert watching.agents["none"].direct_state == fleet_pb2.DIRECT_STATE_UNSPECIFIED

        async def warned() -> bool:
            log = mesh.agents["bad"].output()
            return "direct.unreachable" in log and address in log

        await mesh.eventually(warned, "the agent's log has it")
        listed = await weft("agents", "list", "--target", mesh.target)
        rows = {row.split()[0]: row.split() for row in listed.out.splitlines() if row.strip()}
        assert "ok" in rows["good"]
        assert "UNREACHABLE" in rows["bad"]
        assert "off" in rows["none"]
        assert f"bad: cannot connect to {address}" in listed.err
        as_json = await weft("agents", "list", "--json", "--target", mesh.target)
        assert {each["id"]: each["direct_state"] for each in as_json.document} == {
            "good": "REACHABLE",
            "bad": "UNREACHABLE",
            "none": "UNKNOWN",
        }


async def test_watching_from_a_terminal(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    # Whoever runs the tests in the background has SIGINT ignored, and children would inherit that.
    command = "import signal as s; s.signal(s.SIGINT, s.default_int_handler); from weft.cli.main import main; main()"
    args = (sys.executable, "-c", command, "agents", "watch", "--json", "--target", mesh.target)
    process = Process("watch", args, log=mesh.folder / "watch.out")
    try:

        def told() -> list[dict[str, object]]:
            return [json.loads(text) for text in process.output().splitlines() if text.endswith("}")]

        async with serving(Describing("a1", "one")) as address:
            agent = LightAgent(mesh.channel(), "a1", instance_id="one", advertised_address=address)
            await agent.open()
            await until(
                lambda: any(each.get("direct_state") == "REACHABLE" for each in told()), "it is there"
            )
            await agent.close(goodbye=True)
            await until(lambda: told()[-1] == {"id": "a1", "gone": True}, "it is gone")
        process.signal(signal.SIGINT)
        await process.wait()
        assert "Traceback" not in process.output()
    finally:
        process.cleanup()
