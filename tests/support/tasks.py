"""Tasks of the probe service through the coordinator's own API: submit, look, wait for the end, across restarts."""

from __future__ import annotations

import time

import grpc
import grpc.aio
from google.rpc import code_pb2

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from weft.rpc.errors import error_info
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, fleet_pb2, options_pb2, task_pb2

WAIT_S = 30.0
# A probe agent without isolated methods.
PLAIN = "tests.support.plain:agent"


def method(name: str) -> str:
    """A probe method's full name."""
    return f"{PROBE_SERVICE}/{name}"


async def submit(
    mesh: MeshHarness,
    request: ProbeRequest,
    name: str = "Call",
    options: task_pb2.TaskOptions | None = None,
    *,
    request_id: str = "",
) -> str:
    """Submit one task and return its id."""
    response = await mesh.api().SubmitTask(
        coordinator_pb2.SubmitTaskRequest(
            method=method(name), payload=request.SerializeToString(), request_id=request_id, options=options
        ),
        timeout=WAIT_S,
        wait_for_ready=True,
    )
    return response.task.id


async def submit_all(
    mesh: MeshHarness,
    requests: list[ProbeRequest],
    name: str = "Call",
    options: task_pb2.TaskOptions | None = None,
) -> list[str]:
    """Submit tasks together, in order: they are stored in one go, before any of them can be handed out."""
    message = coordinator_pb2.SubmitTasksRequest(
        tasks=[
            coordinator_pb2.SubmitTaskRequest(
                method=method(name), payload=request.SerializeToString(), options=options
            )
            for request in requests
        ]
    )
    call = mesh.api().SubmitTasks(iter([message]), timeout=WAIT_S)
    acks = [ack async for response in call for ack in response.acks]
    assert not any(ack.HasField("error") for ack in acks), acks
    return [ack.task_id for ack in acks]


async def look(mesh: MeshHarness, task_id: str) -> task_pb2.Task:
    """A task as it is now."""
    request = coordinator_pb2.GetTaskRequest(task_id=task_id)
    return (await mesh.api().GetTask(request, timeout=WAIT_S, wait_for_ready=True)).task


async def ended(
    mesh: MeshHarness, task_ids: list[str], *, timeout_s: float = WAIT_S
) -> dict[str, task_pb2.Task]:
    """Tasks by id, once all of them have ended. The coordinator may be away meanwhile."""
    ends_at = time.monotonic() + timeout_s
    found: dict[str, task_pb2.Task] = {}
    while missing := [task_id for task_id in task_ids if task_id not in found]:
        left_s = ends_at - time.monotonic()
        assert left_s > 0, f"{len(missing)} tasks have not ended, such as {missing[:3]}\n{mesh.logs()}"
        request = coordinator_pb2.WaitTasksRequest(task_ids=missing, timeout=duration(left_s))
        try:
            async for response in mesh.api().WaitTasks(request, timeout=left_s + 5, wait_for_ready=True):
                assert not response.not_found, f"lost: {list(response.not_found)[:3]}\n{mesh.logs()}"
                found |= {task.id: task for task in response.tasks}
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
    return found


async def end(mesh: MeshHarness, task_id: str, *, timeout_s: float = WAIT_S) -> task_pb2.Task:
    """A task, once it has ended."""
    return (await ended(mesh, [task_id], timeout_s=timeout_s))[task_id]


async def agent(mesh: MeshHarness, agent_id: str) -> fleet_pb2.Agent:
    """An agent as the coordinator knows it."""
    request = coordinator_pb2.GetAgentRequest(agent_id=agent_id)
    return (await mesh.api().GetAgent(request, timeout=WAIT_S, wait_for_ready=True)).agent


def reply(task: task_pb2.Task) -> ProbeReply:
    """The response of a task that must have succeeded."""
    assert task.state == task_pb2.TASK_STATE_SUCCEEDED, describe(task)
    return ProbeReply.FromString(task.outcome.response)


def reason(task: task_pb2.Task) -> str:
    """The reason among the details of a task's status; empty: there is none."""
    info = error_info(task.outcome.status)
    return "" if info is None else info.reason


def code(task: task_pb2.Task) -> str:
    """The name of a task's status code."""
    return code_pb2.Code.Name(task.outcome.status.code)


def describe(task: task_pb2.Task) -> str:
    """A task in one line, for assertions."""
    state = task_pb2.TaskState.Name(task.state)
    return (
        f"{task.id} {state} attempt {task.attempt}, crashes {task.crashes}, {task.agent_id}: "
        f"{code(task)} {reason(task)} {task.outcome.status.message!r}"
    )


def limits(
    *,
    schedule_to_start_s: float | None = None,
    start_to_close_s: float | None = None,
    schedule_to_close_s: float | None = None,
) -> task_pb2.TaskOptions:
    """Options with time limits."""
    options = task_pb2.TaskOptions()
    if schedule_to_start_s is not None:
        options.limits.schedule_to_start.CopyFrom(duration(schedule_to_start_s))
    if start_to_close_s is not None:
        options.limits.start_to_close.CopyFrom(duration(start_to_close_s))
    if schedule_to_close_s is not None:
        options.limits.schedule_to_close.CopyFrom(duration(schedule_to_close_s))
    return options


def on(agent_role: str) -> task_pb2.TaskOptions:
    """Options that require an agent with the label role=`agent_role`."""
    return task_pb2.TaskOptions(requirements=options_pb2.Requirements(labels={"role": agent_role}))


NARROW = on("narrow")


async def narrow(mesh: MeshHarness) -> MeshHarness:
    """The mesh, with an agent of a single slot that `NARROW` tasks run on: what it runs, it runs in order."""
    if "narrow" not in mesh.agents:
        await mesh.agent("narrow", slots=1, labels={"role": "narrow"}, program=PLAIN)
    return mesh
