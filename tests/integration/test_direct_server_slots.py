"""Direct calls and tasks share an agent's slots; a full agent says so at once, and one that drains takes nothing new."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.direct import SyncProbeService, probe_agent, serving, used_slots
from tests.support.ledger import Ledger
from tests.support.mesh import MeshHarness
from tests.support.processes import until
from tests.support.scripted_coordinator import ScriptedCoordinator, ScriptedSession
from weft.rpc.errors import error_info, from_call, status_of_call
from weft.v1 import coordinator_pb2, fleet_pb2

REQUEST = probe_pb2.ProbeRequest
CALL = "probe.v1.ProbeService/Call"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def coordinator() -> Iterator[ScriptedCoordinator]:
    with ScriptedCoordinator() as script:
        yield script


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    return Ledger(tmp_path / "ledger")


async def accept(coordinator: ScriptedCoordinator) -> ScriptedSession:
    session = await asyncio.to_thread(coordinator.accept)
    await asyncio.to_thread(session.welcome)
    return session


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    info = error_info(status_of_call(raised.value))
    assert info is not None
    return raised.value.code(), info.reason


@pytest.mark.parametrize("servicer", [None, SyncProbeService], ids=["async", "sync"])
async def test_a_full_agent_answers_at_once(servicer, ledger):
    agent = probe_agent(*([servicer()] if servicer else []), slots=2)
    async with serving(agent) as channel:
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        long = [stub.Call(REQUEST(sleep_s=60, ledger=ledger.path), timeout=60) for _ in range(2)]
        await ledger.until("start", count=2)
        started_at = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Call(REQUEST(), timeout=30)
        error = from_call(raised.value)
        assert (error.code, error.reason_name) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
        assert error.retry_after_s
        assert dict(raised.value.trailing_metadata())["weft-agent"] == "d1"
        assert time.monotonic() - started_at < 5
        for call in long:
            call.cancel()
        await until(lambda: used_slots(agent) == 0, "the slots are free")
        await stub.Call(REQUEST(), timeout=30)


async def test_a_durable_attempt_takes_a_slot_from_direct_calls(coordinator, ledger):
    agent = probe_agent(slots=1, target=coordinator.address)
    async with serving(agent) as channel:
        session = await accept(coordinator)
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        session.assign("t1", CALL, REQUEST(text="t1", sleep_s=60, ledger=ledger.path))
        await ledger.until("start", "t1")
        assert await refusal(stub.Call(REQUEST(), timeout=30)) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "OVERLOADED",
        )
        session.cancel("t1")
        await asyncio.to_thread(session.result, "t1")
        await until(lambda: agent._runtime._slots.durable == 0, "its slot is free")
        await stub.Call(REQUEST(), timeout=30)


async def test_a_waiting_attempt_has_the_slot_of_a_direct_call_that_ends(coordinator, ledger):
    agent = probe_agent(slots=1, target=coordinator.address)
    async with serving(agent) as channel:
        session = await accept(coordinator)
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        direct = stub.Call(REQUEST(text="direct", sleep_s=60, ledger=ledger.path), timeout=60)
        await ledger.until("start", "direct")
        session.assign("t1", CALL, REQUEST(text="t1", ledger=ledger.path))
        report = await asyncio.to_thread(session.wait_state, lambda state: state.waiting == 1)
        assert (report.direct_slots, report.used_slots) == (1, 0)
        assert ledger.facts("start", "t1") == []
        direct.cancel()
        assert (await asyncio.to_thread(session.result, "t1")).outcome.status.code == 0
        await asyncio.to_thread(session.wait_state, lambda state: state.direct_slots == 0)


async def test_an_operators_wish_holds_for_direct_calls(coordinator):
    agent = probe_agent(target=coordinator.address)
    async with serving(agent) as channel:
        session = await accept(coordinator)
        stub, health = probe_pb2_grpc.ProbeServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        session.send(desired_state=fleet_pb2.DESIRED_STATE_DRAINING)
        assert (await watch.read()).status == NOT_SERVING
        assert await refusal(stub.Call(REQUEST(), timeout=30)) == (grpc.StatusCode.UNAVAILABLE, "STOPPING")
        session.send(desired_state=fleet_pb2.DESIRED_STATE_ACTIVE)
        assert (await watch.read()).status == SERVING
        await stub.Call(REQUEST(), timeout=30)
        watch.cancel()


async def test_a_drain_lets_running_calls_end(mesh: MeshHarness):
    await mesh.coordinator()
    process = await mesh.agent("a1", drain_grace_s=30)
    answer = await mesh.api().GetAgent(coordinator_pb2.GetAgentRequest(agent_id="a1"), timeout=5)
    ledger = mesh.ledger()
    async with grpc.aio.insecure_channel(answer.agent.advertised_address) as channel:
        stub, health = probe_pb2_grpc.ProbeServiceStub(channel), health_pb2_grpc.HealthStub(channel)
        running = stub.Call(REQUEST(text="slow", sleep_s=3, ledger=ledger.path), timeout=30)
        await ledger.until("start")
        watch = health.Watch(health_pb2.HealthCheckRequest(service="probe.v1.ProbeService"))
        assert (await watch.read()).status == SERVING
        process.signal(signal.SIGTERM)
        assert (await watch.read()).status == NOT_SERVING
        assert await refusal(stub.Call(REQUEST(), timeout=30)) == (grpc.StatusCode.UNAVAILABLE, "STOPPING")
        assert (await running).text == "slow"
        watch.cancel()
    assert await process.wait() == 0


async def test_a_drain_cuts_off_what_does_not_end(mesh: MeshHarness):
    await mesh.coordinator()
    process = await mesh.agent("a1", drain_grace_s=0.2)
    answer = await mesh.api().GetAgent(coordinator_pb2.GetAgentRequest(agent_id="a1"), timeout=5)
    ledger = mesh.ledger()
    async with grpc.aio.insecure_channel(answer.agent.advertised_address) as channel:
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        calls = [
            stub.Call(REQUEST(text="a", sleep_s=60, ledger=ledger.path), timeout=60),
            stub.CallSync(REQUEST(text="b", sleep_s=60, ledger=ledger.path), timeout=60),
            # Its thread outlives everything; the process ends all the same.
            stub.CallSync(REQUEST(text="c", sleep_s=60, ignore_cancel=True, ledger=ledger.path), timeout=60),
        ]
        await ledger.until("start", count=3)
        process.signal(signal.SIGTERM)
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await process.wait() == 0
    assert {fact.text for fact in ledger.facts("cancelled")} == {"a", "b"}
