"""SIGTERM at the coordinator: waiting callers are answered at once, and running attempts go on."""

from __future__ import annotations

import asyncio
import time
import uuid

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.lightweight import CALL, STREAM, LightAgent, never, result_of
from tests.support.mesh import MeshHarness
from tests.support.refusals import check, refused
from weft.rpc.errors import Unavailable
from weft.v1 import coordinator_pb2 as api
from weft.v1 import session_pb2, task_pb2
from weft.v1.session_pb2 import ConnectRequest

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


async def test_everybody_who_waits_is_told_at_once(mesh: MeshHarness) -> None:
    coordinator = await mesh.coordinator(stop_grace_s=20)
    stub = mesh.api()
    async with LightAgent(mesh.own_channel(), "a1", methods=(CALL, STREAM), slots=8, answer=never) as agent:
        await mesh.wait_serving()
        stored = await stub.SubmitTask(api.SubmitTaskRequest(method=CALL), timeout=5)
        bulk = stub.SubmitTasks(timeout=30)
        tasks = [api.SubmitTaskRequest(method=CALL)]
        await bulk.write(api.SubmitTasksRequest(tasks=tasks, deliver_results=True))
        idle = stub.SubmitTasks(timeout=30)
        await idle.write(api.SubmitTasksRequest())
        waiting = [
            bulk,
            idle,
            stub.WaitTasks(api.WaitTasksRequest(task_ids=[stored.task.id]), timeout=30),
            stub.WatchTask(api.WatchTaskRequest(task_id=stored.task.id), timeout=30),
            mesh.channel().unary_unary(f"/{CALL}")(b"", timeout=30),
            mesh.channel().unary_stream(f"/{STREAM}")(b"", timeout=30),
        ]
        statuses = [asyncio.create_task(refused(call)) for call in waiting]
        await agent.assigned_to(4)

        began_s = time.monotonic()
        assert await coordinator.terminate() == 0
        for status in await asyncio.gather(*statuses):
            check(status, UNAVAILABLE, "STOPPING")
        error = await agent.ended()
        assert isinstance(error, Unavailable)
        assert error.reason_name == "STOPPING"
        assert time.monotonic() - began_s < 10, "nobody's waiting holds up the stop"


async def test_a_slow_stop_costs_no_agent_its_attempts(mesh: MeshHarness) -> None:
    """A client that stays keeps the coordinator in its grace, past every lease."""
    await mesh.coordinator(heartbeat_interval_s=0.2, stop_grace_s=2)
    instance = uuid.uuid4().hex
    first = LightAgent(mesh.own_channel(), "a1", methods=(CALL,), answer=never, instance_id=instance)
    epoch = (await first.open()).epoch
    await mesh.wait_serving()
    task_id = (await mesh.api().SubmitTask(api.SubmitTaskRequest(method=CALL), timeout=5)).task.id
    await first.assigned_to(1)
    staying = health_pb2_grpc.HealthStub(mesh.own_channel()).Watch(health_pb2.HealthCheckRequest())
    await staying.read()

    assert mesh.coordinator_process is not None
    assert await mesh.coordinator_process.terminate() == 0
    await first.close(goodbye=False)
    await mesh.restart_coordinator()

    held = session_pb2.HeldAttempt(task_id=task_id, attempt=1, epoch=epoch)
    async with LightAgent(
        mesh.own_channel(), "a1", methods=(CALL,), answer=never, instance_id=instance, held=[held]
    ) as again:
        assert [ref.task_id for ref in again.welcome.adopted] == [task_id]
        await again.send(ConnectRequest(results=[result_of(first.assigned[0])]))
        async for ended in mesh.api().WaitTasks(api.WaitTasksRequest(task_ids=[task_id]), timeout=10):
            (task,) = ended.tasks
            assert task.state == task_pb2.TASK_STATE_SUCCEEDED
            assert (task.attempt, task.crashes) == (1, 0)
