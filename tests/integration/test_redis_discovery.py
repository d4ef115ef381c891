"""Several coordinators on one Redis: watchers of each see the same fleet."""

from __future__ import annotations

import asyncio
import time

import grpc.aio
import pytest

from tests.support.lightweight import ECHO, LightAgent, Request
from tests.support.mesh import MeshHarness
from tests.support.watching import Seen, Watching
from weft.rpc.network.channel import client_options
from weft.rpc.network.targets import dialled
from weft.v1 import coordinator_pb2 as pb
from weft.v1 import fleet_pb2, session_pb2

ACTIVE = fleet_pb2.AGENT_STATE_ACTIVE
SUSPECT = fleet_pb2.AGENT_STATE_SUSPECT
Pair = tuple[MeshHarness, MeshHarness]
# Tests share their machine with others.
SOON_S = 1.0


@pytest.mark.slow
async def test_each_tells_of_all_agents(pair: Pair) -> None:
    here, there = pair
    async with Watching(there.own_channel()) as watching:

        async def told(what: str, seen: object, since: int, began_s: float) -> None:
            at_s = await watching.until(seen, what, since=since)  # type: ignore[arg-type]
            print(f"{what}: {at_s - began_s:.3f} s")
            assert at_s - began_s < SOON_S, what

        async with LightAgent(here.channel(), "a1", heartbeats=False, labels={"zone": "eu"}) as agent:
            since, began_s = len(watching.updates), time.monotonic()
            await told("it is there", lambda agents: state(agents) == ACTIVE, 0, began_s)
            labels = dict(watching.agents["a1"].labels)
            assert len(labels.pop("agent.contract")) == 12
            assert labels == {"zone": "eu", "agent.id": "a1"}

            since, began_s = len(watching.updates), time.monotonic()
            down = session_pb2.AgentReport(sequence=1, unavailable_services=[ECHO.partition("/")[0]])
            await agent.send(Request(state=down))
            await told("its app is down", lambda agents: agents["a1"].methods[0].unavailable, since, began_s)

            # A wish that is told here to an agent there.
            since, began_s = len(watching.updates), time.monotonic()
            wish = pb.UpdateAgentRequest(agent_id="a1", desired_state=fleet_pb2.DESIRED_STATE_PAUSED)
            await there.api().UpdateAgent(wish, timeout=5)
            paused = fleet_pb2.AGENT_STATE_PAUSED
            await told("paused", lambda agents: state(agents) == paused, since, began_s)
            wish.desired_state = fleet_pb2.DESIRED_STATE_ACTIVE
            since = len(watching.updates)
            await there.api().UpdateAgent(wish, timeout=5)
            await watching.until(lambda agents: state(agents) == ACTIVE, "active", since=since)

            since, began_s = len(watching.updates), time.monotonic()
            await agent.close(goodbye=False)
            await told("its stream broke", lambda agents: state(agents) == SUSPECT, since, began_s)
            await watching.until(lambda agents: not agents, "it is lost", since=since)

        async with LightAgent(here.channel(), "a2") as leaver:
            await watching.until(lambda agents: set(agents) == {"a2"}, "another", since=since)
            since, began_s = len(watching.updates), time.monotonic()
            await leaver.close(goodbye=True)
            await told("it left", lambda agents: not agents, since, began_s)


async def test_whether_an_agent_is_reachable_is_known_at_each(pair: Pair) -> None:
    here, there = pair
    async with Watching(there.own_channel()) as watching:
        await here.agent("a1")
        reachable = fleet_pb2.DIRECT_STATE_REACHABLE
        await watching.until(
            lambda agents: "a1" in agents and agents["a1"].direct_state == reachable, "a1 is reachable"
        )


async def test_a_coordinator_dies_and_its_agents_and_watchers_go_to_the_other(pair: Pair) -> None:
    """A watcher that goes on with the other coordinator never sees an agent missing that both knew."""
    here, there = pair
    names = {"a1", "a2", "a3"}
    await asyncio.gather(*(here.agent(name, target=f"{here.target},{there.target}") for name in names))
    async with Watching(there.own_channel()) as other:
        await other.until(lambda agents: set(agents) == names, "the other coordinator knows all")
    # A list of one family is tried in order.
    target = dialled([here.target, there.target])
    options = [*client_options(own_connection=True), ("grpc.service_config", "{}")]
    async with grpc.aio.insecure_channel(target, options=options) as channel, Watching(channel) as watching:
        await watching.until(lambda agents: set(agents) == names, "all are there")
        since = len(watching.updates)
        assert here.coordinator_process is not None
        await here.coordinator_process.kill()
        for name in names:
            await there.wait_agent(name)
        async with LightAgent(there.own_channel(), "new"):
            await watching.until(lambda agents: set(agents) == names | {"new"}, "it goes on", since=since)
        assert all(set(agents) >= names for _, agents in watching.updates[since:])


def state(agents: Seen) -> int:
    return agents["a1"].state if "a1" in agents else 0
