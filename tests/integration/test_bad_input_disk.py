"""The disk under the store is full: no new task is accepted, no earlier task is lost, and free space is enough to
recover."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from probe.v1.probe_pb2 import Payload
from tests.support.lightweight import CALL, ECHO, LightAgent, never, result_of
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.processes import until
from tests.support.refusals import check, refused, retry_delay_s
from tests.support.small_disk import SmallDisk, small_disk
from weft.v1 import coordinator_pb2 as api
from weft.v1 import fleet_pb2, session_pb2, task_pb2
from weft.v1.session_pb2 import ConnectRequest

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING
HELD = 20
FULL_FOR_S = 0.5
LARGE = Payload(data=bytes(300_000)).SerializeToString()


@pytest.fixture
def disk(tmp_path: Path, mesh: MeshHarness) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as disk:
        mesh.store = disk.path / "weft.db"
        yield disk
        for process in filter(None, [mesh.coordinator_process]):
            process.cleanup()


def _submit(mesh: MeshHarness, method: str, payload: bytes = b"") -> Any:
    return mesh.api().SubmitTask(api.SubmitTaskRequest(method=method, payload=payload), timeout=5)


async def _health(mesh: MeshHarness, service: str) -> int:
    health = health_pb2_grpc.HealthStub(mesh.channel())
    return (await health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)).status


async def _fill(mesh: MeshHarness, disk: SmallDisk) -> None:
    """Fill the disk, and what the store's files still have room for, until no small write fits."""
    disk.fill()
    sizes, refused_since_s = [300_000, 30_000, 3_000, 0], math.inf

    async def full() -> bool:
        nonlocal refused_since_s
        try:
            await _submit(mesh, ECHO, Payload(data=bytes(sizes[0])).SerializeToString())
        except grpc.aio.AioRpcError as error:
            if error.code() is not UNAVAILABLE:
                raise
            refused_since_s = min(refused_since_s, time.monotonic())
            if len(sizes) > 1:
                del sizes[0]
            # The store tries again meanwhile, and a write that needs less room would make it accept tasks.
            return time.monotonic() - refused_since_s > FULL_FOR_S
        refused_since_s = math.inf
        return False

    await mesh.eventually(full, "the disk is full")


async def test_a_full_disk(mesh: MeshHarness, disk: SmallDisk) -> None:
    await mesh.coordinator(heartbeat_interval_s=0.3)
    async with (
        LightAgent(mesh.own_channel(), "holder", methods=(CALL,), slots=HELD, answer=never) as holder,
        LightAgent(mesh.own_channel(), "echo"),
    ):
        await mesh.wait_serving()
        ids = [(await _submit(mesh, CALL)).task.id for _ in range(HELD)]
        await holder.assigned_to(HELD)

        await _fill(mesh, disk)
        # What is refused says so, and when to come back.
        status = await refused(_submit(mesh, ECHO, LARGE))
        check(status, UNAVAILABLE, "STORE_UNAVAILABLE")
        assert retry_delay_s(status)
        status = await refused(mesh.channel().unary_unary(f"/{ECHO}")(LARGE, timeout=10))
        check(status, UNAVAILABLE, "STORE_UNAVAILABLE")
        bulk = mesh.api().SubmitTasks(timeout=10)
        await bulk.write(
            api.SubmitTasksRequest(tasks=[api.SubmitTaskRequest(method=ECHO, payload=LARGE)] * 3)
        )
        await bulk.done_writing()
        refusals = [ack async for response in bulk for ack in response.acks]
        assert len(refusals) == 3
        for ack in refusals:
            check(ack.error, UNAVAILABLE, "STORE_UNAVAILABLE")
        for service in ("", PROBE_SERVICE):
            assert await _health(mesh, service) == NOT_SERVING
        # What can be read is read.
        read = await mesh.api().GetTask(api.GetTaskRequest(task_id=ids[0]), timeout=5)
        assert read.task.state == task_pb2.TASK_STATE_RUNNING

        # Results come meanwhile, and more reports than may wait; several leases pass.
        for assignment in holder.assigned:
            await holder.send(ConnectRequest(results=[result_of(assignment, response=b"")]))
        await asyncio.sleep(2.5)
        assert not any(message.result_acks for message in holder.received)
        states = await mesh.agent_states()
        assert set(states.values()) == {fleet_pb2.AGENT_STATE_ACTIVE}, "a full disk is no agent's fault"

        disk.free()
        tasks: list[task_pb2.Task] = []
        async for response in mesh.api().WaitTasks(api.WaitTasksRequest(task_ids=ids), timeout=10):
            tasks.extend(response.tasks)
        assert len(tasks) == HELD
        for task in tasks:
            assert task.state == task_pb2.TASK_STATE_SUCCEEDED
            assert (task.attempt, task.crashes) == (1, 0)
        await mesh.wait_serving()
        assert await _health(mesh, "") == SERVING
        assert await mesh.probe().Echo(Payload(data=b"again"), timeout=5) == Payload(data=b"again")

        def acks() -> list[session_pb2.ResultAck]:
            return [ack for message in holder.received for ack in message.result_acks]

        await until(lambda: len(acks()) == HELD, "every result is acknowledged")
        assert not any(ack.refused for ack in acks())


async def test_a_crash_on_a_full_disk(mesh: MeshHarness, disk: SmallDisk) -> None:
    """Killed while full: what was acknowledged is there when there is room again."""
    coordinator = await mesh.coordinator()
    async with LightAgent(mesh.own_channel(), "echo"):
        await mesh.wait_serving()
        await mesh.probe().Echo(Payload(data=b"before"), timeout=5)
        pause = api.UpdateQueueRequest(method=ECHO, paused=True)
        await mesh.api().UpdateQueue(pause, timeout=5)
        ids = [(await _submit(mesh, ECHO)).task.id for _ in range(10)]
        await _fill(mesh, disk)
        await coordinator.kill()
    disk.free()
    await mesh.restart_coordinator()
    resume = api.UpdateQueueRequest(method=ECHO, paused=False)
    await mesh.api().UpdateQueue(resume, timeout=5, wait_for_ready=True)
    async with LightAgent(mesh.own_channel(), "echo"):
        done: list[task_pb2.Task] = []
        async for response in mesh.api().WaitTasks(api.WaitTasksRequest(task_ids=ids), timeout=15):
            done.extend(response.tasks)
    assert {task.id for task in done} == set(ids)
    assert {task.state for task in done} == {task_pb2.TASK_STATE_SUCCEEDED}


async def test_a_start_on_a_full_disk(mesh: MeshHarness, disk: SmallDisk) -> None:
    """It starts and refuses, or says in a sentence why it does not; with room again it starts as ever."""
    coordinator = await mesh.coordinator()
    assert await coordinator.terminate() == 0
    disk.fill()
    try:
        await mesh.restart_coordinator()
    except AssertionError:
        assert mesh.coordinator_process is not None
        output = mesh.coordinator_process.output()
        assert "Traceback" not in output
        assert str(mesh.store) in output
    disk.free()
    await mesh.restart_coordinator()
    assert await mesh.agent_states() == {}
