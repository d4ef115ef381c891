"""Callers that leave at any moment: their calls end, and logs mention it at level debug only."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mirror.v1 import mirror_pb2, mirror_pb2_grpc
from tests.support.beside import direct_address, free_address, sidecar
from tests.support.mesh import MeshHarness
from tests.support.mirror import SERVICE
from tests.support.processes import until
from tests.support.ways import AGENT, python
from weft.v1 import coordinator_pb2, coordinator_pb2_grpc, task_pb2

Ask = mirror_pb2.Ask


@pytest_asyncio.fixture
async def doors(tmp_path: Path, mesh: MeshHarness) -> AsyncIterator[dict[str, tuple[str, str]]]:
    """Where stock clients may come in: address and mode."""
    app = python(tmp_path, "mirror")
    address = tmp_path / "mirror.address"
    await until(address.exists, "the app serves")
    try:
        await mesh.coordinator()
        egress = free_address()
        await mesh.agent("python", program=AGENT, slots=64)
        await sidecar(mesh, address.read_text(), egress=egress, slots=64)
        await mesh.wait_serving(SERVICE)
        yield {
            "durable": (mesh.target, "durable"),
            "by the coordinator": (mesh.target, "direct"),
            "python": (await direct_address(mesh, "python"), ""),
            "side": (await direct_address(mesh, "side"), ""),
            "egress": (egress, "direct"),
        }
    finally:
        app.cleanup()


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_callers_that_leave_are_in_no_log(mesh: MeshHarness, doors: dict[str, tuple[str, str]]) -> None:
    draw = random.Random(5)
    for target, mode in doors.values():
        asks = (("weft-mode", mode),) if mode else ()
        for _ in range(12):
            async with grpc.aio.insecure_channel(target) as channel:
                stub = mirror_pb2_grpc.MirrorServiceStub(channel)
                # While it is sent large answers, failures, headers; while it waits; while it is about to be answered.
                ask = Ask(text="x", answers=100, answer_bytes=100_000, code=draw.choice([0, 5]))
                calls = [
                    stub.Down(ask, timeout=60, metadata=asks),
                    stub.Down(Ask(answers=2, linger_s=draw.random() / 50), timeout=60, metadata=asks),
                    stub.Unary(Ask(text="u", wait_s=draw.random() / 50, code=3), timeout=60, metadata=asks),
                    stub.Unary(Ask(blob=bytes(3_000_000)), timeout=60, metadata=asks),
                    health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()),
                ]
                if mode != "durable":
                    calls.append(stub.Both(iter([ask]), timeout=60, metadata=asks))
                await calls[0].read()
                await asyncio.sleep(draw.random() / 30)
                if draw.random() < 0.5:
                    for call in calls:
                        call.cancel()
    await mesh.eventually(lambda: _nothing_runs(mesh), "what they called has ended")
    # Each process' words at its default level, info.
    for name, text in _logs(mesh).items():
        loud = [line for line in text.splitlines() if _is_loud(line)]
        assert not loud, f"{name}: {loud[0]}"


def _is_loud(line: str) -> bool:
    try:
        said = json.loads(line)
    except ValueError:
        return True
    return said["level"] not in ("info", "debug")


def _logs(mesh: MeshHarness) -> dict[str, str]:
    processes = {"coordinator": mesh.coordinator_process, **mesh.agents}
    return {name: process.output() for name, process in processes.items() if process is not None}


async def _nothing_runs(mesh: MeshHarness) -> bool:
    api: coordinator_pb2_grpc.CoordinatorServiceStub = mesh.api()
    states = [task_pb2.TASK_STATE_QUEUED, task_pb2.TASK_STATE_RUNNING]
    request = coordinator_pb2.ListTasksRequest(filter=coordinator_pb2.TaskFilter(states=states))
    tasks = (await api.ListTasks(request, timeout=10)).tasks
    agents = (await api.ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=10)).agents
    return not tasks and not any(agent.used_slots for agent in agents)
