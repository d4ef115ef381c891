"""Discovery: the present agents, at once, resumed from a cursor, over restarts of the coordinator."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable

import grpc
import grpc.aio
import pytest

from tests.support.lightweight import CALL, CONTRACT, ECHO, LightAgent, Request, agents_apart
from tests.support.mesh import MeshHarness
from tests.support.processes import until
from tests.support.refusals import check, refused
from tests.support.watching import Watching
from weft.rpc.discovery import Discovery
from weft.rpc.errors import ResourceExhausted, Unavailable
from weft.v1 import coordinator_pb2 as pb
from weft.v1 import fleet_pb2, session_pb2

ACTIVE = fleet_pb2.AGENT_STATE_ACTIVE
SUSPECT = fleet_pb2.AGENT_STATE_SUSPECT
PAUSED = fleet_pb2.AGENT_STATE_PAUSED
DRAINING = fleet_pb2.AGENT_STATE_DRAINING
# A change is told within 100 ms; tests share their machine with others.
AT_ONCE_S = 0.5
MOST_MESSAGE_BYTES = 4 * 1024 * 1024


@contextlib.asynccontextmanager
async def watch(mesh: MeshHarness, cursor: str = "", *methods: str) -> AsyncIterator[Callable[[], object]]:
    """A raw stream; gives what reads its next response."""
    call = mesh.api().WatchAgents(pb.WatchAgentsRequest(methods=methods, cursor=cursor))

    async def read() -> pb.WatchAgentsResponse:
        # The stream may have to be given up when this times out.
        async with asyncio.timeout(20):
            response = await call.read()
        assert isinstance(response, pb.WatchAgentsResponse), f"ended with {await call.code()}"
        return response

    try:
        yield read
    finally:
        call.cancel()


def states(response: pb.WatchAgentsResponse) -> dict[str, int]:
    return {agent.id: agent.state for agent in response.agents}


async def test_a_snapshot_then_each_change_at_once(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with Watching(mesh.own_channel()) as watching:
        assert watching.agents == {}

        async def told(change: Callable[[], object], what: str, expected: Callable[..., bool]) -> None:
            since, began_s = len(watching.updates), time.monotonic()
            await change()  # type: ignore[misc]
            at_s = await watching.until(expected, what, since=since)
            assert at_s - began_s < AT_ONCE_S, f"{what}: {at_s - began_s:.3f} s"

        agent = LightAgent(
            mesh.channel(), "a1", slots=3, methods=(ECHO, CALL), heartbeats=False, labels={"zone": "eu"}
        )
        await agent.open()
        await watching.until(lambda agents: "a1" in agents, "it is there")
        first = watching.agents["a1"]
        labels = dict(first.labels)
        assert len(labels.pop("agent.contract")) == 12
        assert (first.state, first.slots, labels) == (ACTIVE, 3, {"zone": "eu", "agent.id": "a1"})
        assert [method.name for method in first.methods] == [ECHO, CALL]

        def report(sequence: int, **fields: object) -> Callable[[], object]:
            state = session_pb2.AgentReport(sequence=sequence, **fields)  # type: ignore[arg-type]
            return lambda: agent.send(Request(state=state))

        def wish(state: fleet_pb2.DesiredState) -> Callable[[], object]:
            request = pb.UpdateAgentRequest(agent_id="a1", desired_state=state)
            return lambda: mesh.api().UpdateAgent(request, timeout=5)

        def state_is(state: fleet_pb2.AgentState) -> Callable[..., bool]:
            return lambda agents: "a1" in agents and agents["a1"].state == state

        await told(wish(fleet_pb2.DESIRED_STATE_PAUSED), "paused", state_is(PAUSED))
        assert watching.agents["a1"].desired_state == fleet_pb2.DESIRED_STATE_PAUSED
        await told(wish(fleet_pb2.DESIRED_STATE_ACTIVE), "active", state_is(ACTIVE))
        await told(report(900, draining=True), "draining", state_is(DRAINING))
        await told(lambda: agent.close(goodbye=False), "its stream broke", state_is(SUSPECT))
        since = len(watching.updates)
        await watching.until(lambda agents: "a1" not in agents, "it is lost", since=since)


async def test_load_is_no_change(mesh: MeshHarness) -> None:
    # With the usual heartbeats: an agent that a busy machine keeps silent for three short ones is told of as SUSPECT.
    await mesh.coordinator()
    async with LightAgent(mesh.channel(), "a1") as agent, watch(mesh) as read:
        # The snapshot may be of a moment before it was known.
        seen = states(await read()) or states(await read())
        assert seen == {"a1": ACTIVE}
        for sequence in range(100, 120):
            load = fleet_pb2.HostLoad(process_cpu_cores=sequence / 100)
            await agent.send(Request(state=session_pb2.AgentReport(sequence=sequence, load=load)))
        # What comes next is this, and nothing was told before.
        async with LightAgent(mesh.channel(), "a2"):
            assert states(await read()) == {"a2": ACTIVE}


async def test_who_says_goodbye_is_removed_and_not_listed(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    agent = LightAgent(mesh.channel(), "a1")
    await agent.open()
    async with Watching(mesh.own_channel()) as watching:
        since, began_s = len(watching.updates), time.monotonic()
        await agent.close(goodbye=True)
        at_s = await watching.until(lambda agents: not agents, "it is gone", since=since)
        assert at_s - began_s < AT_ONCE_S
        assert all(agent.state == ACTIVE for _, seen in watching.updates for agent in seen.values())

        async def unlisted() -> bool:
            return not await mesh.agent_states()

        await mesh.eventually(unlisted, "it is not listed", timeout_s=2)


async def test_a_wish_outlives_a_goodbye(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with LightAgent(mesh.channel(), "a1"):
        wish = pb.UpdateAgentRequest(agent_id="a1", desired_state=fleet_pb2.DESIRED_STATE_PAUSED)
        await mesh.api().UpdateAgent(wish, timeout=5)
    await mesh.wait_agent("a1", fleet_pb2.AGENT_STATE_LEFT)
    await mesh.restart_coordinator()
    await mesh.wait_agent("a1", fleet_pb2.AGENT_STATE_LEFT)
    async with LightAgent(mesh.channel(), "a1") as again:
        assert again.welcome.desired_state == fleet_pb2.DESIRED_STATE_PAUSED


async def test_only_agents_that_host_the_methods(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with (
        LightAgent(mesh.channel(), "both", methods=(ECHO, CALL)) as both,
        LightAgent(mesh.channel(), "echo", methods=(ECHO,)),
        Watching(mesh.own_channel(), methods=(CALL,)) as watching,
    ):
        await watching.until(lambda agents: set(agents) == {"both"}, "the one that hosts it")
        since = len(watching.updates)
        # It comes back, as another version that does not host it any more.
        await both.close(goodbye=False)
        await mesh.wait_agent("both", SUSPECT)
        async with LightAgent(mesh.channel(), "both", methods=(ECHO,), contract=CONTRACT):
            await mesh.wait_agent("both")
            await watching.until(lambda agents: not agents, "nobody hosts it", since=since)


async def test_a_cursor_resumes(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with LightAgent(mesh.channel(), "stays"):
        async with LightAgent(mesh.channel(), "goes"):
            await mesh.wait_contract("goes", agents=2)
            async with watch(mesh) as read:
                first = await read()
            assert first.snapshot
            assert states(first) == {"stays": ACTIVE, "goes": ACTIVE}
        async with LightAgent(mesh.channel(), "comes"):
            await mesh.wait_contract("comes", agents=2)
            async with watch(mesh, first.cursor) as read:
                second = await read()
            assert not second.snapshot
            assert (states(second), list(second.removed)) == ({"comes": ACTIVE}, ["goes"])
            # One that is no cursor of this coordinator, or of no coordinator.
            log_id, _, position = second.cursor.partition("-")
            strange = ["x", "-", "\u0663", f"{log_id}-", f"{log_id}-{int(position) + 9}", f"{log_id}--1"]
            for cursor in [*strange, f"{log_id}-{'9' * 40}", "f" * 16 + "-1", "x" * 5000]:
                async with watch(mesh, cursor) as read:
                    fresh = await read()
                assert fresh.snapshot, cursor
                assert states(fresh) == {"stays": ACTIVE, "comes": ACTIVE}


async def test_too_many_methods_are_refused(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    call = mesh.api().WatchAgents(pb.WatchAgentsRequest(methods=[f"a.S/M{n}" for n in range(257)]), timeout=5)
    check(await refused(call), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "methods")


async def test_watchers_are_bounded(mesh: MeshHarness) -> None:
    await mesh.coordinator(max_watchers=1)
    async with watch(mesh) as read:
        await read()
        second = Discovery(mesh.own_channel(), lambda _: None)
        second.start()
        with pytest.raises(ResourceExhausted, match="watch the fleet already"):
            await second.ready(0.5)
        await second.close()


@pytest.mark.slow
async def test_a_coordinator_that_dies_and_comes_back(mesh: MeshHarness) -> None:
    """The last snapshot stays; afterwards the same agents are there, and at no time was one missing."""
    await mesh.coordinator()
    names = {"a1", "a2", "a3"}
    await asyncio.gather(*(mesh.agent(name) for name in names))
    async with Watching(mesh.own_channel()) as watching:
        await watching.until(lambda agents: set(agents) == names, "all are there")
        since = len(watching.updates)
        before = {name: agent.epoch for name, agent in watching.agents.items()}
        await mesh.restart_coordinator()

        def back(agents: dict[str, fleet_pb2.Agent]) -> bool:
            return all(agents[name].epoch > before[name] for name in names)

        await watching.until(back, "all have new sessions", since=since)
        for _, agents in watching.updates:
            if len(agents) == 3:
                assert {agent.state for agent in agents.values()} == {ACTIVE}
        assert all(set(agents) == names for _, agents in watching.updates[since:])
        # And it is live.
        await mesh.agents["a2"].kill()
        await watching.until(lambda agents: agents["a2"].state == SUSPECT, "a2 is dead", since=since)
        await watching.until(lambda agents: set(agents) == names - {"a2"}, "a2 is lost", since=since)


async def test_an_agent_that_died_with_the_coordinator_is_told_after_the_grace(mesh: MeshHarness) -> None:
    await mesh.coordinator(recovery_grace_s=1.5)
    await asyncio.gather(mesh.agent("a1"), mesh.agent("a2"))
    async with Watching(mesh.own_channel()) as watching:
        await watching.until(lambda agents: set(agents) == {"a1", "a2"}, "both are there")
        since = len(watching.updates)
        assert mesh.coordinator_process is not None
        await mesh.coordinator_process.kill()
        await mesh.agents["a1"].kill()
        await mesh.restart_coordinator()
        await watching.until(lambda agents: set(agents) == {"a2"}, "a1 is not", since=since)
        assert watching.agents["a2"].state == ACTIVE


async def test_nobody_there_is_said(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    assert mesh.coordinator_process is not None
    await mesh.coordinator_process.kill()
    discovery = Discovery(mesh.own_channel(), lambda _: None)
    discovery.start()
    with pytest.raises(Unavailable):
        await discovery.ready(0.3)
    await discovery.close()
    await discovery.close()


async def test_a_listener_that_fails_is_called_again(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    seen: list[int] = []

    def listen(agents: Iterable[fleet_pb2.Agent]) -> None:
        seen.append(len(list(agents)))
        raise RuntimeError("not today")

    discovery = Discovery(mesh.own_channel(), listen)
    discovery.start()
    await discovery.ready(10)
    async with LightAgent(mesh.channel(), "a1"):
        await until(lambda: seen == [0, 1], "both updates were passed on")
    await discovery.close()


@pytest.mark.slow
async def test_a_fleet_of_2000(mesh: MeshHarness) -> None:
    """Snapshots come in messages that a stock client takes; a change costs one small one."""
    # The agents' process is busy for a while.
    await mesh.coordinator(heartbeat_interval_s=20)
    count = 2000
    async with (
        Watching(mesh.own_channel()) as early,
        agents_apart(mesh.target, "a", count, log=mesh.folder / "driver.log"),
    ):
        await early.until(lambda agents: len(agents) == count, "all are seen", timeout_s=40)
        assert len(early.updates) < count / 4, "changes are batched"
        # As many labels as there may be, so that a snapshot of all is larger than a message.
        wide = {f"key-{n}": "v" * 250 for n in range(64)}
        agents = [LightAgent(mesh.own_channel(), f"w{n}", labels=wide, heartbeats=False) for n in range(150)]
        await asyncio.gather(*(agent.open() for agent in agents))
        try:
            await early.until(lambda agents: len(agents) == count + 150, "these too")
            parts = []
            async with watch(mesh) as read:
                while not parts or not parts[-1].cursor:
                    parts.append(await read())
                assert len(parts) > 1
                assert [part.snapshot for part in parts] == [True] + [False] * (len(parts) - 1)
                assert max(part.ByteSize() for part in parts) < MOST_MESSAGE_BYTES
                assert sum(len(part.agents) for part in parts) == count + 150
                wish = pb.UpdateAgentRequest(agent_id="w7", desired_state=fleet_pb2.DESIRED_STATE_PAUSED)
                began_s = time.monotonic()
                await mesh.api().UpdateAgent(wish, timeout=5)
                while "w7" not in states(change := await read()):
                    pass
                assert time.monotonic() - began_s < 2 * AT_ONCE_S
                assert len(change.agents) < 10
        finally:
            await asyncio.gather(*(agent.close(goodbye=False) for agent in agents))
