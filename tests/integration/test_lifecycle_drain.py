"""Draining and pausing: agents leave or rest without cost to any task."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.ledger import Ledger
from tests.support.mesh import MeshHarness
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, fleet_pb2, options_pb2, task_pb2

# Any attempt that counted would end the task.
ONE_CHANCE = task_pb2.TaskOptions(retry=options_pb2.RetryPolicy(max_attempts=1, max_crashes=0))


async def want(mesh: MeshHarness, agent_id: str, desired: fleet_pb2.DesiredState) -> fleet_pb2.Agent:
    request = coordinator_pb2.UpdateAgentRequest(agent_id=agent_id, desired_state=desired)
    return (await mesh.api().UpdateAgent(request, timeout=10)).agent


@pytest.fixture
def ledger(shared_mesh: MeshHarness, request: pytest.FixtureRequest) -> Ledger:
    return shared_mesh.ledger(request.node.name)


@pytest.fixture
async def mesh_of_a1(shared_mesh: MeshHarness) -> AsyncIterator[MeshHarness]:
    """Its agent a1 takes nothing until it is made active. What else a test starts is gone after it."""
    await want(shared_mesh, "a1", fleet_pb2.DESIRED_STATE_PAUSED)
    yield shared_mesh
    for agent_id, process in shared_mesh.agents.items():
        if agent_id != "a1" and process.alive:
            await process.terminate()
    await want(shared_mesh, "a1", fleet_pb2.DESIRED_STATE_ACTIVE)


async def fill(
    mesh: MeshHarness, agent_id: str, ledger: Ledger, *, sleep_s: float
) -> tuple[list[str], set[str], set[str]]:
    """Start an agent; two run on it and four wait at it: ids, texts of the running, texts of the waiting."""
    await mesh.agent(agent_id, slots=2, prefetch=4, program=tasks.PLAIN)
    requests = [ProbeRequest(text=f"t{n}", sleep_s=sleep_s, ledger=ledger.path) for n in range(6)]
    ids = await tasks.submit_all(mesh, requests, options=ONE_CHANCE)
    running = {fact.text for fact in await ledger.until("start", count=2)}

    async def all_there() -> bool:
        return (await tasks.agent(mesh, agent_id)).in_flight == 6

    await mesh.eventually(all_there, "six tasks are at the agent")
    return ids, running, {request.text for request in requests} - running


async def nothing_counted(mesh: MeshHarness, ids: list[str]) -> None:
    for task in (await tasks.ended(mesh, ids)).values():
        assert task.state == task_pb2.TASK_STATE_SUCCEEDED, tasks.describe(task)
        assert task.crashes == 0, tasks.describe(task)


async def test_sigterm_finishes_what_runs_and_hands_back_what_waits(
    mesh_of_a1: MeshHarness, ledger: Ledger
) -> None:
    mesh = mesh_of_a1
    ids, running, waiting = await fill(mesh, "leaving", ledger, sleep_s=1.5)
    await want(mesh, "a1", fleet_pb2.DESIRED_STATE_ACTIVE)

    stopped_at = time.time()
    assert await mesh.agents["leaving"].terminate() == 0

    async def gone() -> bool:
        return "leaving" not in await mesh.agent_states()

    await mesh.eventually(gone, "it said goodbye, and is not listed any more")

    await nothing_counted(mesh, ids)
    starts = {fact.text: fact for fact in ledger.facts("start")}
    assert len(ledger.facts("start")) == 6
    assert {text for text, fact in starts.items() if fact.agent_id == "leaving"} == running
    assert {text for text, fact in starts.items() if fact.agent_id == "a1"} == waiting
    # At once, not when the running ones had ended.
    assert max(starts[text].time_s for text in waiting) - stopped_at < 1.0


async def test_what_outlasts_the_drain_grace_is_handed_over(mesh_of_a1: MeshHarness, ledger: Ledger) -> None:
    mesh = mesh_of_a1
    await mesh.agent("hasty", slots=3, drain_grace_s=0.3)
    ids = []
    # The isolated one first: its process may still be starting.
    for name in ("CallIsolated", "CallSync", "Call"):
        request = ProbeRequest(text=name, sleep_s=2.5, ledger=ledger.path)
        ids.append(await tasks.submit(mesh, request, name, ONE_CHANCE))
        await ledger.until("start", name)
    await want(mesh, "a1", fleet_pb2.DESIRED_STATE_ACTIVE)

    stopped_at = time.monotonic()
    assert await mesh.agents["hasty"].terminate() == 0
    assert time.monotonic() - stopped_at < 2.5

    await nothing_counted(mesh, ids)
    again = [fact for fact in ledger.facts("start") if fact.agent_id == "a1"]
    assert {fact.text for fact in again} == {"CallIsolated", "CallSync", "Call"}


async def test_an_operator_drains_an_agent_and_takes_it_back(mesh_of_a1: MeshHarness, ledger: Ledger) -> None:
    mesh = mesh_of_a1
    ids, running, waiting = await fill(mesh, "drained", ledger, sleep_s=1.0)
    await want(mesh, "a1", fleet_pb2.DESIRED_STATE_ACTIVE)
    epoch = (await tasks.agent(mesh, "drained")).epoch

    answer = await want(mesh, "drained", fleet_pb2.DESIRED_STATE_DRAINING)
    assert answer.desired_state == fleet_pb2.DESIRED_STATE_DRAINING
    await mesh.wait_agent("drained", fleet_pb2.AGENT_STATE_DRAINING)
    await nothing_counted(mesh, ids)

    starts = {fact.text: fact.agent_id for fact in ledger.facts("start")}
    assert len(ledger.facts("start")) == 6
    assert {text for text, agent_id in starts.items() if agent_id == "drained"} == running
    assert {text for text, agent_id in starts.items() if agent_id == "a1"} == waiting
    # It is still there, and takes nothing though it is idle.
    answers = [await mesh.probe().Call(ProbeRequest(text="x"), timeout=10) for _ in range(4)]
    assert {answer.agent_id for answer in answers} == {"a1"}

    await want(mesh, "drained", fleet_pb2.DESIRED_STATE_ACTIVE)
    await want(mesh, "a1", fleet_pb2.DESIRED_STATE_PAUSED)
    assert (await mesh.probe().Call(ProbeRequest(text="y"), timeout=10)).agent_id == "drained"
    assert (await tasks.agent(mesh, "drained")).epoch == epoch


async def test_a_paused_agent_keeps_what_it_has_and_takes_nothing_new(
    mesh_of_a1: MeshHarness, ledger: Ledger
) -> None:
    mesh = mesh_of_a1
    ids, _, _ = await fill(mesh, "resting", ledger, sleep_s=0.4)

    await want(mesh, "resting", fleet_pb2.DESIRED_STATE_PAUSED)
    await mesh.wait_agent("resting", fleet_pb2.AGENT_STATE_PAUSED)
    later = await tasks.submit(mesh, ProbeRequest(text="later", ledger=ledger.path))
    await nothing_counted(mesh, ids)
    assert {fact.agent_id for fact in ledger.facts("start")} == {"resting"}
    assert (await tasks.look(mesh, later)).state == task_pb2.TASK_STATE_QUEUED
    # The wish holds for the agent's next process too.
    await mesh.agents["resting"].terminate()
    await mesh.agent("resting", slots=2, wait=False, program=tasks.PLAIN)
    await mesh.wait_agent("resting", fleet_pb2.AGENT_STATE_PAUSED)
    assert (await tasks.look(mesh, later)).state == task_pb2.TASK_STATE_QUEUED

    await want(mesh, "resting", fleet_pb2.DESIRED_STATE_ACTIVE)
    assert tasks.reply(await tasks.end(mesh, later)).agent_id == "resting"


async def test_a_paused_queue_holds_its_tasks_back_and_no_others(
    shared_mesh: MeshHarness, ledger: Ledger
) -> None:
    mesh = shared_mesh

    async def pause(*, paused: bool) -> list[fleet_pb2.Queue]:
        request = coordinator_pb2.UpdateQueueRequest(method=tasks.method("Call"), paused=paused)
        return list((await mesh.api().UpdateQueue(request, timeout=10)).queues)

    running = await tasks.submit(mesh, ProbeRequest(text="running", sleep_s=0.3, ledger=ledger.path))
    await ledger.until("start", "running")
    (queue,) = await pause(paused=True)
    assert queue.paused
    held = await tasks.submit(mesh, ProbeRequest(text="held", ledger=ledger.path))
    # What runs goes on, other methods run, limits count.
    assert tasks.reply(await tasks.end(mesh, running)).text == "running"
    assert (await mesh.probe().CallSync(ProbeRequest(text="other"), timeout=10)).text == "other"
    late = await tasks.submit(
        mesh, ProbeRequest(text="late", ledger=ledger.path), options=tasks.limits(schedule_to_start_s=0.2)
    )
    assert tasks.reason(await tasks.end(mesh, late)) == "TIME_LIMIT"
    cancelled = await mesh.api().CancelTask(
        coordinator_pb2.CancelTaskRequest(
            task_id=await tasks.submit(mesh, ProbeRequest(text="cancelled", ledger=ledger.path)),
            grace=duration(0),
        ),
        timeout=10,
    )
    assert cancelled.task.state == task_pb2.TASK_STATE_CANCELLED

    await pause(paused=False)
    assert tasks.reply(await tasks.end(mesh, held)).text == "held"
    assert [fact.text for fact in ledger.facts("start")] == ["running", "held"]
