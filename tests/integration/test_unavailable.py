"""An agent gets no tasks that it reports as impossible now: of services whose app is down, or in slots of direct
calls."""

from __future__ import annotations

import asyncio
import time

from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support import tasks
from tests.support.lightweight import CALL, ECHO, LightAgent, Request
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.watching import Watching
from weft.v1 import coordinator_pb2, session_pb2

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# Told at once; tests share their machine with others.
AT_ONCE_S = 0.5
# In which an assignment would have come: the dispatcher's backstop is a second.
LONG_S = 1.5


def report(sequence: int, *unavailable: str, direct_slots: int = 0) -> Request:
    state = session_pb2.AgentReport(
        sequence=sequence, unavailable_services=unavailable, direct_slots=direct_slots
    )
    return Request(state=state)


async def submit(mesh: MeshHarness) -> str:
    request = coordinator_pb2.SubmitTaskRequest(method=CALL)
    return (await mesh.api().SubmitTask(request, timeout=5)).task.id


async def test_a_service_that_is_down(mesh: MeshHarness) -> None:
    await mesh.coordinator(heartbeat_interval_s=30)
    health = health_pb2_grpc.HealthStub(mesh.channel())
    statuses: list[tuple[int, float]] = []

    async def follow() -> None:
        async for response in health.Watch(health_pb2.HealthCheckRequest(service=PROBE_SERVICE)):
            statuses.append((response.status, time.monotonic()))

    async def last_is(status: int) -> bool:
        return bool(statuses) and statuses[-1][0] == status

    following = asyncio.create_task(follow())
    async with (
        LightAgent(mesh.channel(), "a1", slots=4, methods=(ECHO, CALL), heartbeats=False) as agent,
        Watching(mesh.own_channel()) as watching,
    ):
        await mesh.eventually(lambda: last_is(SERVING), "it is served")
        sent_s = time.monotonic()
        # A service that it does not host changes nothing.
        await agent.send(report(1, PROBE_SERVICE, "other.v1.Service"))
        await mesh.eventually(lambda: last_is(NOT_SERVING), "it is down")
        assert statuses[-1][1] - sent_s < AT_ONCE_S
        at_s = await watching.until(
            lambda agents: (
                all(method.unavailable for agent in agents.values() for method in agent.methods)
                and bool(agents)
            ),
            "watchers are told",
        )
        assert at_s - sent_s < AT_ONCE_S
        listed = (await mesh.api().ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=5)).agents
        assert [method.unavailable for method in listed[0].methods] == [True, True]
        queues = (await mesh.api().ListQueues(coordinator_pb2.ListQueuesRequest(), timeout=5)).queues
        assert not [queue for queue in queues if queue.agents]

        waiting = await submit(mesh)
        await asyncio.sleep(LONG_S)
        assert not agent.assigned
        # Another agent can.
        async with LightAgent(mesh.channel(), "a2", methods=(CALL,)) as other:
            await other.holds(waiting)
            await mesh.eventually(lambda: last_is(SERVING), "somebody serves it")
        await mesh.eventually(lambda: last_is(NOT_SERVING), "nobody does")

        waiting = await submit(mesh)
        since, sent_s = len(watching.updates), time.monotonic()
        await agent.send(report(2))
        await agent.holds(waiting)
        await mesh.eventually(lambda: last_is(SERVING), "it is back")
        at_s = await watching.until(
            lambda agents: not any(method.unavailable for method in agents["a1"].methods),
            "watchers are told",
            since=since,
        )
        assert at_s - sent_s < AT_ONCE_S
    following.cancel()


async def test_slots_of_direct_calls_are_not_given_away(mesh: MeshHarness) -> None:
    await mesh.coordinator(heartbeat_interval_s=30)
    async with LightAgent(mesh.channel(), "a1", slots=2, methods=(CALL,), heartbeats=False) as agent:
        await agent.send(report(1, direct_slots=2))
        shown = coordinator_pb2.GetAgentRequest(agent_id="a1")

        async def busy() -> bool:
            return (await mesh.api().GetAgent(shown, timeout=5)).agent.used_slots == 2

        await mesh.eventually(busy, "both slots are shown as taken")
        first, second = await submit(mesh), await submit(mesh)
        await asyncio.sleep(LONG_S)
        assert not agent.assigned
        # One is free: taken at once, not with the backstop's next round.
        sent_s = time.monotonic()
        await agent.send(report(2, direct_slots=1))
        await agent.holds(first)
        assert time.monotonic() - sent_s < AT_ONCE_S
        await agent.holds(second)
        # More than it has: nothing goes wrong.
        await agent.send(report(3, direct_slots=2**32 - 1))
        third = await submit(mesh)
        await agent.send(report(4))
        await agent.holds(third)
        await tasks.ended(mesh, [first, second, third])
