"""The fleet and dispatch: requirements, slots, load, identity, contracts, health."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.rolling import METHOD as ROLLING
from tests.support.rolling import request_class
from weft.v1 import coordinator_pb2, fleet_pb2, options_pb2, task_pb2

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
GONE = (fleet_pb2.AGENT_STATE_SUSPECT, fleet_pb2.AGENT_STATE_LOST)


async def test_requirements_choose_the_agent(shared_mesh: MeshHarness) -> None:
    mesh = shared_mesh
    await asyncio.gather(
        mesh.agent("eu", slots=4, labels={"zone": "eu"}, program=tasks.PLAIN),
        mesh.agent(
            "gpu", slots=4, labels={"zone": "us"}, env={"WEFT_AGENT_RESOURCES": "gpu=2"}, program=tasks.PLAIN
        ),
    )

    async def who(requirement: str) -> str:
        call = mesh.probe().Call(ProbeRequest(), metadata=(("weft-require", requirement),), timeout=10)
        return (await call).agent_id

    assert [await who("zone=eu") for _ in range(3)] == ["eu"] * 3
    assert await who("zone=us,gpu>=1") == "gpu"
    assert await who("gpu>=2") == "gpu"

    # Nobody has it: the task waits, and holds up nobody else's.
    options = task_pb2.TaskOptions(requirements=options_pb2.Requirements(resources={"gpu": 3}), priority=9)
    waiting = await tasks.submit(mesh, ProbeRequest(text="big"), options=options)
    assert (await mesh.probe().Call(ProbeRequest(text="small"), timeout=10)).text == "small"
    assert (await tasks.look(mesh, waiting)).state == task_pb2.TASK_STATE_QUEUED
    queues = (await mesh.api().ListQueues(coordinator_pb2.ListQueuesRequest(), timeout=10)).queues
    assert [(q.queued, q.agents) for q in queues if q.requirements == "gpu>=3"] == [(1, 0)]
    await mesh.agent("big", slots=1, env={"WEFT_AGENT_RESOURCES": "gpu=4"}, program=tasks.PLAIN)
    assert tasks.reply(await tasks.end(mesh, waiting)).agent_id == "big"


async def test_a_dear_method_takes_its_slots(shared_mesh: MeshHarness) -> None:
    """Five slots and a cost of three: one at a time, and two slots stay empty."""
    mesh, ledger = shared_mesh, shared_mesh.ledger("dear")
    await mesh.agent("dear", slots=5, labels={"role": "dear"}, program="tests.support.plain:costly")
    requests = [ProbeRequest(text=f"t{n}", sleep_s=0.3, ledger=ledger.path) for n in range(3)]
    ids = await tasks.submit_all(mesh, requests, options=tasks.on("dear"))
    await ledger.until("start")
    agent = await tasks.agent(mesh, "dear")
    assert (agent.used_slots, agent.in_flight, agent.slots) == (3, 1, 5)
    await tasks.ended(mesh, ids)
    events = [fact.event for fact in ledger.facts()]
    assert events == ["start", "end"] * 3


async def test_the_least_loaded_agent_gets_the_next_task(shared_mesh: MeshHarness) -> None:
    mesh, ledger = shared_mesh, shared_mesh.ledger("spread")
    sizes, labels, options = {"small": 2, "middle": 4, "large": 8}, {"role": "spread"}, tasks.on("spread")
    await asyncio.gather(
        *(mesh.agent(name, slots=slots, labels=labels, program=tasks.PLAIN) for name, slots in sizes.items())
    )

    # One by one.
    for number in range(7):
        request = ProbeRequest(text=f"one-{number}", sleep_s=60, ledger=ledger.path)
        await tasks.submit(mesh, request, options=options)
        await ledger.until("start", f"one-{number}")
    spread = Counter(fact.agent_id for fact in ledger.facts("start"))
    assert spread == {"small": 1, "middle": 2, "large": 4}
    # Seven at once fill what is left in the same proportion.
    requests = [ProbeRequest(text=f"all-{n}", sleep_s=60, ledger=ledger.path) for n in range(7)]
    await tasks.submit_all(mesh, requests, options=options)
    await ledger.until("start", count=14)
    spread = Counter(fact.agent_id for fact in ledger.facts("start"))
    assert spread == {"small": 2, "middle": 4, "large": 8}


async def test_two_live_agents_cannot_share_an_id(shared_mesh: MeshHarness) -> None:
    mesh, labels = shared_mesh, {"role": "twin"}
    first = await mesh.agent("twin", slots=2, labels=labels, program=tasks.PLAIN)
    known = await tasks.agent(mesh, "twin")
    second = await mesh.agent("twin", slots=2, labels=labels, wait=False, program=tasks.PLAIN)

    async def refused() -> bool:
        return "session.id_in_use" in second.output()

    await mesh.eventually(refused, "the second process is told that its id is taken")
    assert second.alive
    now = await tasks.agent(mesh, "twin")
    assert (now.instance_id, now.epoch) == (known.instance_id, known.epoch)
    metadata = (("weft-require", "role=twin"),)
    assert (await mesh.probe().Call(ProbeRequest(), metadata=metadata, timeout=10)).agent_id == "twin"

    # It dials on, and has the id when the first is gone.
    await first.kill()

    async def taken_over() -> bool:
        agent = await tasks.agent(mesh, "twin")
        return agent.instance_id != known.instance_id and agent.state == fleet_pb2.AGENT_STATE_ACTIVE

    await mesh.eventually(taken_over, "the second process has the id now")
    assert (await mesh.probe().Call(ProbeRequest(), metadata=metadata, timeout=10)).agent_id == "twin"


@pytest.mark.slow
async def test_rolling_contracts(shared_mesh: MeshHarness) -> None:
    """A compatible version joins beside the old one; one that nobody could read is refused, and says why."""
    mesh = shared_mesh
    program = "tests.support.rolling:agent"
    await mesh.agent("v1", slots=1, program=program, env={"ROLLING_VERSION": "1"})
    await mesh.agent("v2", slots=1, program=program, env={"ROLLING_VERSION": "2"})
    refused = await mesh.agent("v3", program=program, env={"ROLLING_VERSION": "3"}, wait=False)

    assert await refused.wait() not in {0, None}
    assert "CONTRACT_INCOMPATIBLE" in refused.output()
    assert "Request.text" in refused.output()
    assert (await tasks.agent(mesh, "v3")).state in GONE

    # Both versions serve callers of the newer one.
    newer = request_class(2)
    call = mesh.channel().unary_unary(f"/{ROLLING}", newer.SerializeToString, newer.FromString)
    seen = Counter([(await call(newer(text="t", more="mine"), timeout=10)).more for _ in range(12)])
    assert set(seen) == {"mine", "version 2"}
    # And it stays so over a restart, when old and new come back in any order.
    await mesh.restart_coordinator()
    await mesh.wait_agent("v1")
    await mesh.wait_agent("v2")
    answer = await call(newer(text="t", more="mine"), timeout=10, wait_for_ready=True)
    assert answer.text == "t"


async def test_health_follows_the_agents_that_can_take_a_call(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    stub = health_pb2_grpc.HealthStub(mesh.channel())
    request = health_pb2.HealthCheckRequest(service=PROBE_SERVICE)
    changes: list[tuple[int, float]] = []

    async def follow() -> None:
        async for response in stub.Watch(request):
            changes.append((response.status, time.monotonic()))

    async def last_is(status: int) -> bool:
        return bool(changes) and changes[-1][0] == status

    watching = asyncio.create_task(follow())
    await mesh.eventually(lambda: last_is(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN), "nobody hosts it")
    agent = await mesh.agent("a1", slots=1, program=tasks.PLAIN)
    await mesh.eventually(lambda: last_is(SERVING), "it is served")
    assert (await stub.Check(request, timeout=5)).status == SERVING
    whole = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert whole.status == SERVING

    killed_at = time.monotonic()
    await agent.kill()
    await mesh.eventually(lambda: last_is(NOT_SERVING), "nobody serves it")
    assert changes[-1][1] - killed_at < 1.0
    assert (await stub.Check(request, timeout=5)).status == NOT_SERVING
    # The coordinator itself is well.
    assert (await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)).status == SERVING

    await mesh.agent("a2", slots=1, program=tasks.PLAIN)
    await mesh.eventually(lambda: last_is(SERVING), "it is served again")
    await desire(mesh, "a2", fleet_pb2.DESIRED_STATE_PAUSED)
    await mesh.eventually(lambda: last_is(NOT_SERVING), "its only agent is paused")
    watching.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=5)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND

    # A restarted coordinator knows the service, and waits for the agent.
    await desire(mesh, "a2", fleet_pb2.DESIRED_STATE_ACTIVE)
    await mesh.wait_serving()
    mesh.agents["a2"].pause()
    await mesh.restart_coordinator()
    assert (await stub.Check(request, timeout=5, wait_for_ready=True)).status == NOT_SERVING
    mesh.agents["a2"].resume()
    await mesh.wait_serving()


async def desire(mesh: MeshHarness, agent_id: str, state: fleet_pb2.DesiredState) -> None:
    request = coordinator_pb2.UpdateAgentRequest(agent_id=agent_id, desired_state=state)
    await mesh.api().UpdateAgent(request, timeout=5)
