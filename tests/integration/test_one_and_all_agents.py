"""Tasks for one agent, by its id, and calls of a method on each agent that hosts it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import code_pb2

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support import tasks
from tests.support.command import weft
from tests.support.lightweight import ECHO, LightAgent
from tests.support.mesh import MeshHarness
from tests.support.refusals import check, refused
from tests.support.shared_redis import two_coordinators
from weft.client import (
    AgentOutcome,
    DesiredState,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unimplemented,
    call_options,
    connect,
    methods,
)
from weft.client.sync import connect as connect_sync
from weft.rpc.process.version import VERSION
from weft.v1 import coordinator_pb2, task_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALL = tasks.method("Call")
PROBE = methods(probe_pb2_grpc.ProbeServiceStub)
AGENTS = ["a1", "a2", "a3"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    """Three agents with all methods of the probe, and one with another method alone."""
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator(missed_heartbeats=10)
        for agent_id in AGENTS:
            await harness.agent(agent_id)
        async with LightAgent(harness.own_channel(), "light", methods=(ECHO,)):
            await harness.wait_agent("light")
            yield harness


async def outcomes_of(
    target: str, request: ProbeRequest, **options: Any
) -> dict[str, AgentOutcome[ProbeReply]]:
    async with (
        connect(target) as mesh,
        aclosing(mesh.fleet.call_all(PROBE.Call, request, **options)) as found,
    ):
        return {outcome.agent_id: outcome async for outcome in found}


async def test_agents_have_labels_of_their_own(fleet: MeshHarness) -> None:
    agent = await tasks.agent(fleet, "a1")
    assert agent.labels["agent.id"] == "a1"
    assert agent.labels["version"] == VERSION
    assert agent.labels["host"]


async def test_the_labels_that_weft_adds_take_no_room(fleet: MeshHarness) -> None:
    most = {f"label{number}": "x" for number in range(64)}
    async with LightAgent(fleet.own_channel(), "b1", labels={**most, "host": "here", "version": "1"}):
        assert len((await tasks.agent(fleet, "b1")).labels) == 68
    agent = LightAgent(fleet.own_channel(), "b2", labels={**most, "label64": "x"})
    with pytest.raises(InvalidArgument, match="at most 64 labels"):
        await agent.open()


async def test_anothers_id_or_contract_is_no_label(fleet: MeshHarness) -> None:
    for label in "agent.id", "agent.contract":
        agent = LightAgent(fleet.own_channel(), "b1", labels={label: "b2"})
        with pytest.raises(InvalidArgument, match=rf"the label {label} is the agent's own, "):
            await agent.open()


async def test_a_task_runs_on_its_agent_by_every_door(fleet: MeshHarness) -> None:
    for agent_id in AGENTS:
        for _ in range(3):
            call = fleet.probe().Call(
                ProbeRequest(text="x"), metadata=call_options(agent=agent_id), timeout=20
            )
            await call
            assert dict(await call.trailing_metadata())["weft-agent"] == agent_id
    async with connect(fleet.target) as mesh:
        for agent_id in AGENTS:
            handle = await mesh.tasks.submit(PROBE.Call, ProbeRequest(text="x"), agent_id=agent_id)
            assert (await handle.ended(20)).agent_id == agent_id
        ended = [
            done.task
            async for done in mesh.tasks.run_many(
                PROBE.Call, [ProbeRequest(text=str(n)) for n in range(20)], agent_id="a2"
            )
        ]
        assert {task.agent_id for task in ended} == {"a2"}
    done = await weft(
        "call", "ProbeService/Call", '{"text": "x"}', "--agent", "a3", "--json", target=fleet.target
    )
    assert done.document["agent_id"] == "a3"
    done = await weft(
        "submit",
        "ProbeService/Call",
        '{"text": "x"}',
        "--agent",
        "a1",
        "--wait",
        "--json",
        target=fleet.target,
    )
    assert done.document["agent_id"] == "a1"


async def test_a_failed_attempt_is_repeated_by_the_same_agent(fleet: MeshHarness) -> None:
    options = task_pb2.TaskOptions(agent_id="a2")
    options.retry.initial_backoff.FromMilliseconds(10)
    failing = ProbeRequest(text="f", fail_code=code_pb2.UNAVAILABLE, fail_message="no", fail_attempts=2)
    task = await tasks.end(fleet, await tasks.submit(fleet, failing, options=options))
    assert (task.state, task.attempt) == (task_pb2.TASK_STATE_SUCCEEDED, 3)
    assert {attempt.agent_id for attempt in task.attempts} | {task.agent_id} == {"a2"}


async def test_an_unknown_agent_is_refused_at_once(fleet: MeshHarness) -> None:
    async with connect(fleet.target) as mesh:
        with pytest.raises(NotFound, match="nobody"):
            await mesh.tasks.submit(PROBE.Call, ProbeRequest(), agent_id="nobody")
        with pytest.raises(Unimplemented, match="light does not host"):
            await mesh.tasks.submit(PROBE.Call, ProbeRequest(), agent_id="light")
        done = [each async for each in mesh.tasks.run_many(PROBE.Call, [ProbeRequest()], agent_id="nobody")]
        assert isinstance(done[0].error(), NotFound)
    call = fleet.probe().Call(ProbeRequest(), metadata=(("weft-agent", "nobody"),), timeout=5)
    check(await refused(call), grpc.StatusCode.NOT_FOUND, "AGENT_NOT_FOUND")
    detached = fleet.probe().Call(
        ProbeRequest(), metadata=call_options(agent="nobody", detach=True), timeout=5
    )
    check(await refused(detached), grpc.StatusCode.NOT_FOUND, "AGENT_NOT_FOUND")
    stream = fleet.probe().Stream(ProbeRequest(), metadata=call_options(agent="nobody"), timeout=5)
    check(await refused(stream), grpc.StatusCode.NOT_FOUND, "AGENT_NOT_FOUND")
    done = await weft("call", "ProbeService/Call", "{}", "--agent", "nobody", target=fleet.target)
    assert done.status == 1
    assert "nobody" in done.err


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ((("weft-agent", ""),), "weft-agent"),
        ((("weft-agent", "x" * 129),), "weft-agent"),
        ((("weft-agent", "a1"), ("weft-require", "agent.id=a2")), "options.agent_id"),
        ((("weft-agent", "a1"), ("weft-mode", "direct")), "weft-agent"),
    ],
)
async def test_a_malformed_agent_is_refused(
    fleet: MeshHarness, metadata: tuple[tuple[str, str], ...], field: str
) -> None:
    status = await refused(fleet.probe().Call(ProbeRequest(), metadata=metadata, timeout=5))
    check(status, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", field)


async def test_each_agent_runs_it_once(fleet: MeshHarness) -> None:
    found = await outcomes_of(fleet.target, ProbeRequest(text="all"))
    assert sorted(found) == AGENTS
    assert {outcome.result().text for outcome in found.values()} == {"all"}
    assert {outcome.task.agent_id for outcome in found.values() if outcome.task} == {*AGENTS}
    assert not [each async for each in _nobody(fleet)]
    failed = await outcomes_of(
        fleet.target, ProbeRequest(fail_code=code_pb2.INTERNAL, fail_message="no", fail_attempts=9)
    )
    assert {outcome.error.code for outcome in failed.values() if outcome.error} == {grpc.StatusCode.INTERNAL}


async def _nobody(fleet: MeshHarness) -> AsyncIterator[AgentOutcome[bytes]]:
    async with connect(fleet.target) as mesh:
        async for outcome in mesh.fleet.call_all("no.v1.Such/Method", b""):
            yield outcome


async def test_a_paused_agent_has_an_outcome_too(fleet: MeshHarness) -> None:
    async with connect(fleet.target) as mesh:
        await mesh.fleet.set_state("a3", DesiredState.PAUSED)
        try:
            found = await outcomes_of(fleet.target, ProbeRequest(text="all"))
        finally:
            await mesh.fleet.set_state("a3", DesiredState.ACTIVE)
    assert isinstance(found["a3"].error, FailedPrecondition)
    assert [found[agent_id].result().text for agent_id in ("a1", "a2")] == ["all", "all"]


@pytest.mark.slow
async def test_the_blocking_client_and_the_command_call_all(fleet: MeshHarness) -> None:
    def work() -> list[str]:
        with connect_sync(fleet.target) as mesh:
            return sorted(o.agent_id for o in mesh.fleet.call_all(PROBE.Call, ProbeRequest(text="x")))

    assert await asyncio.to_thread(work) == AGENTS
    done = await weft("call", "ProbeService/Call", '{"text": "x"}', "--all", "--json", target=fleet.target)
    assert done.status == 0
    assert sorted(each["agent_id"] for each in done.documents) == AGENTS
    assert {each["response"]["text"] for each in done.documents} == {"x"}
    shown = await weft("call", "ProbeService/Call", '{"text": "x"}', "--all", target=fleet.target)
    assert "3 of 3 agents succeeded" in shown.err
    locked = await weft(
        "call", "ProbeService/Call", '{"text": "x"}', "--all", "--lock", "db", "--json", target=fleet.target
    )
    ids = [each["task_id"] for each in locked.documents]
    assert len(ids) == len(AGENTS)
    for task_id in ids:
        document = (await weft("tasks", "get", task_id, "--json", target=fleet.target)).document
        assert document["locks"] == [{"name": "db", "shared": False, "state": False}]
    for args, words in (
        (["--all", "--agent", "a1"], "--agent: not with --all"),
        (["--all", "--no-wait", "--detach"], "--detach, --no-wait: not with --all"),
        (["--all", "--direct"], "--all"),
    ):
        wrong = await weft("call", "ProbeService/Call", "{}", *args, target=fleet.target)
        assert (wrong.status, words in wrong.err) == (2, True)


async def test_an_unknown_option_is_refused_once(fleet: MeshHarness) -> None:
    """Each agent's call fails by it; none of the failures is left for asyncio to report."""
    reported: list[Any] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reported.append(context))
    try:
        with pytest.raises(TypeError, match="did you mean 'priority'"):
            await outcomes_of(fleet.target, ProbeRequest(), priorty=3)
        gc.collect()
    finally:
        loop.set_exception_handler(before)
    assert not reported


async def test_agents_of_other_coordinators_are_called_too(tmp_path: Path) -> None:
    async with MeshHarness(tmp_path) as mesh, two_coordinators(mesh, tmp_path) as (here, there):
        await there.agent("far")
        task_id = await _submitted(here, "far")
        assert (await tasks.end(here, task_id)).agent_id == "far"
        await here.agent("near")
        assert sorted(await outcomes_of(there.target, ProbeRequest(text="x"))) == ["far", "near"]


async def _submitted(mesh: MeshHarness, agent_id: str) -> str:
    """Submit at once: an agent that has just connected elsewhere is not unknown here."""
    request = coordinator_pb2.SubmitTaskRequest(
        method=CALL,
        payload=ProbeRequest(text="x").SerializeToString(),
        options=task_pb2.TaskOptions(agent_id=agent_id),
    )
    await mesh.wait_contract(agent_id)
    return (await mesh.api().SubmitTask(request, timeout=10)).task.id
