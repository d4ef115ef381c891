"""A task that is not to wait is refused at once where no connected agent can run it: by every door, whoever has the agents.

With the embedded store; and with two coordinators on one Redis, of which the one has the callers, the other the agents.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import grpc
import grpc.aio
import pytest
from google.rpc import code_pb2, status_pb2

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.command import weft
from tests.support.lightweight import CALL, ECHO, STREAM, LightAgent, never, result_of
from tests.support.mesh import MeshHarness
from tests.support.refusals import check, refused
from weft.client import FailedPrecondition, connect
from weft.rpc.errors import error_info
from weft.v1 import coordinator_pb2 as api
from weft.v1 import errors_pb2, fleet_pb2, options_pb2, session_pb2, task_pb2

Require = options_pb2.Requirements


class Meshes(NamedTuple):
    """Where callers are, and where agents are: the same coordinator or two."""

    callers: MeshHarness
    agents: MeshHarness


@pytest.fixture
def meshes(doors: tuple[MeshHarness, MeshHarness]) -> Meshes:
    return Meshes(*doors)


def options(require: Require | None, *, no_wait: bool | None = True) -> task_pb2.TaskOptions:
    made = task_pb2.TaskOptions(requirements=require)
    if no_wait is not None:
        made.no_wait = no_wait
    return made


def text(require: Require | None) -> str:
    if require is None:
        return ""
    parts = [f"{key}={value}" for key, value in require.labels.items()]
    return ",".join(parts + [f"{key}>={amount:g}" for key, amount in require.resources.items()])


# -- doors ------------------------------------------------------------------------------------------------------------


async def submit_task(mesh: MeshHarness, method: str, require: Require | None) -> status_pb2.Status:
    request = api.SubmitTaskRequest(method=method, options=options(require))
    return await refused(mesh.api().SubmitTask(request, timeout=10))


async def submit_tasks(mesh: MeshHarness, method: str, require: Require | None) -> status_pb2.Status:
    """Between two that wait, each with its own answer."""
    one = api.SubmitTaskRequest(method=method, options=options(require))
    waits = api.SubmitTaskRequest(method=method, options=options(require, no_wait=False))
    bulk = mesh.api().SubmitTasks(timeout=10)
    await bulk.write(api.SubmitTasksRequest(tasks=[waits, one, waits], deliver_results=True))
    acks: list[api.SubmitAck] = []
    while len(acks) < 3:
        response = await bulk.read()
        assert isinstance(response, api.SubmitTasksResponse)
        acks += response.acks
    bulk.cancel()
    assert [bool(ack.task_id) for ack in acks] == [True, False, True]
    for ack in (acks[0], acks[2]):
        await mesh.api().CancelTask(api.CancelTaskRequest(task_id=ack.task_id), timeout=10)
    return acks[1].error


def transparent(
    *, detach: bool = False
) -> Callable[[MeshHarness, str, Require | None], Awaitable[status_pb2.Status]]:
    async def call(mesh: MeshHarness, method: str, require: Require | None) -> status_pb2.Status:
        pairs = [("weft-no-wait", "true"), *([("weft-detach", "true")] if detach else [])]
        if require is not None:
            pairs.append(("weft-require", text(require)))
        stub = mesh.channel().unary_stream if method == STREAM else mesh.channel().unary_unary
        return await refused(stub(f"/{method}")(b"", timeout=10, metadata=tuple(pairs)))

    return call


DOORS = [submit_task, submit_tasks, transparent(), transparent(detach=True)]


async def refuses(meshes: Meshes, words: str, require: Require | None = None, method: str = ECHO) -> None:
    for door in DOORS:
        status = await door(meshes.callers, method, require)
        check(status, grpc.StatusCode.FAILED_PRECONDITION, "NO_AGENT_MATCHES")
        assert words in status.message
        info = error_info(status)
        assert info is not None
        assert (info.metadata["method"], info.metadata["requirements"]) == (method, text(require))


async def accepts(meshes: Meshes, require: Require | None = None, request_id: str = "") -> str:
    """A task is stored; it ends with this test."""
    request = api.SubmitTaskRequest(method=ECHO, options=options(require), request_id=request_id)
    return (await meshes.callers.api().SubmitTask(request, timeout=10)).task.id


async def set_state(meshes: Meshes, agent_id: str, state: fleet_pb2.DesiredState) -> None:
    request = api.UpdateAgentRequest(agent_id=agent_id, desired_state=state)
    await meshes.agents.api().UpdateAgent(request, timeout=10)
    wanted = fleet_pb2.DesiredState.Name(state).removeprefix("DESIRED_STATE_")
    for mesh in meshes:
        await mesh.wait_agent(agent_id, fleet_pb2.AgentState.Value(f"AGENT_STATE_{wanted}"))


# -- cases ------------------------------------------------------------------------------------------------------------


async def test_who_is_refused(meshes: Meshes) -> None:
    channel, eu = meshes.agents.own_channel(), Require(labels={"zone": "eu"})
    # Both coordinators have the contract.
    async with LightAgent(channel, "gone", methods=[ECHO, CALL, STREAM]):
        await meshes.agents.wait_serving()
        await meshes.callers.wait_serving()
    with_gpu = {"labels": {"zone": "us"}, "resources": {"gpu": 1}}
    async with LightAgent(channel, "one", answer=never, methods=[ECHO, CALL], **with_gpu) as one:
        # Another coordinator's agent is known at once: there is no time to learn of it.
        await accepts(meshes, Require(labels={"zone": "us"}, resources={"gpu": 1}))
        await one.assigned_to(1)
        # It is busy, and that passes.
        await accepts(meshes)
        await refuses(meshes, f"an agent that hosts {STREAM}; none is connected", method=STREAM)
        await refuses(
            meshes, f"an agent with zone=eu; 1 agent hosts {ECHO}, none has it (zone is us)", require=eu
        )
        await refuses(meshes, "an agent with gpu>=2; 1 agent", require=Require(resources={"gpu": 2}))
        await refuses(meshes, "(no tier)", require=Require(labels={"tier": "a"}))
        await set_state(meshes, "one", fleet_pb2.DESIRED_STATE_PAUSED)
        await refuses(meshes, f"an agent that takes work; of 1 agent for {ECHO}: 1 paused")
        await set_state(meshes, "one", fleet_pb2.DESIRED_STATE_DRAINING)
        await refuses(meshes, ": 1 draining")
        await set_state(meshes, "one", fleet_pb2.DESIRED_STATE_ACTIVE)
        pause = api.UpdateQueueRequest(method=ECHO, paused=True)
        await meshes.callers.api().UpdateQueue(pause, timeout=10)
        # An operator lets the method go on.
        known = await accepts(meshes, request_id="known")

    async def gone() -> bool:
        return "one" not in await meshes.callers.agent_states()

    await meshes.callers.eventually(gone, "the other coordinator has told")
    await refuses(meshes, f"an agent that hosts {ECHO}; none is connected")
    assert await accepts(meshes, request_id="known") == known, "it is stored already"


def broken(assignment: session_pb2.Assignment) -> session_pb2.AttemptResult:
    return result_of(assignment, status=status_pb2.Status(code=code_pb2.UNAVAILABLE, message="broken"))


async def test_a_failing_agent_is_an_agent(meshes: Meshes) -> None:
    async with LightAgent(meshes.agents.own_channel(), "bad", answer=broken) as bad:
        await meshes.callers.wait_serving()
        await accepts(meshes)
        await bad.assigned_to(5)
        await accepts(meshes)


async def test_the_command_and_the_library(mesh: MeshHarness) -> None:
    """And the coordinator's default, which a call may overrule."""
    await mesh.coordinator(no_wait=True)
    async with LightAgent(mesh.own_channel(), "one", answer=never, methods=[ECHO, CALL]):
        await mesh.wait_serving()
        for command in (["call"], ["submit"]):
            done = await weft(*command, CALL, "{}", "--require", "zone=eu", "--no-wait", target=mesh.target)
            assert done.status == 1
            assert "it needs an agent with zone=eu; 1 agent hosts" in done.err
        async with connect(mesh.target) as client:
            eu = {"zone": "eu"}
            with pytest.raises(FailedPrecondition) as error:
                await client.tasks.submit(CALL, ProbeRequest(), require_labels=eu)
            assert error.value.reason == errors_pb2.ERROR_REASON_NO_AGENT_MATCHES
            await client.tasks.submit(CALL, ProbeRequest(), require_labels=eu, no_wait=False)
        stub = mesh.channel().unary_unary(f"/{ECHO}")
        pairs = (("weft-require", "zone=eu"), ("weft-detach", "true"))
        check(
            await refused(stub(b"", metadata=pairs)), grpc.StatusCode.FAILED_PRECONDITION, "NO_AGENT_MATCHES"
        )
        await stub(b"", metadata=(*pairs, ("weft-no-wait", "false")), timeout=10)
        wrong = await refused(stub(b"", metadata=(("weft-no-wait", "maybe"),)))
        check(wrong, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "weft-no-wait")
