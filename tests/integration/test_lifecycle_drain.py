"""Draining and pausing: agents leave or rest without cost to any task."""

from __future__ import annotations

import asyncio
import time

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.ledger import Ledger
from tests.support.mesh import PROBE_AGENT, MeshHarness
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, fleet_pb2, task_pb2

# Any attempt that counted would end the task.
ONE_CHANCE = task_pb2.TaskOptions(retry=task_pb2.RetryPolicy(max_attempts=1, max_crashes=0))


async def want(mesh: MeshHarness, agent_id: str, desired: fleet_pb2.DesiredState) -> fleet_pb2.Agent:
    request = coordinator_pb2.UpdateAgentRequest(agent_id=agent_id, desired_state=desired)
    return (await mesh.api().UpdateAgent(request, timeout=10)).agent


async def two_agents(
    mesh: MeshHarness, *, slots: int = 2, drain_grace_s: float | None = None, program: str = tasks.PLAIN
) -> Ledger:
    """a1, and a2 that takes nothing until it is made active."""
    await mesh.coordinator()
    await asyncio.gather(
        mesh.agent("a1", slots=slots, prefetch=4, drain_grace_s=drain_grace_s, program=program),
        mesh.agent("a2", slots=4, program=program),
    )
    await want(mesh, "a2", fleet_pb2.DESIRED_STATE_PAUSED)
    return mesh.ledger()


async def fill(mesh: MeshHarness, ledger: Ledger, *, sleep_s: float) -> tuple[list[str], set[str], set[str]]:
    """Two running on a1 and four waiting at it: ids, texts of the running, texts of the waiting."""
    requests = [ProbeRequest(text=f"t{n}", sleep_s=sleep_s, ledger=ledger.path) for n in range(6)]
    ids = await tasks.submit_all(mesh, requests, options=ONE_CHANCE)
    running = {fact.text for fact in await ledger.until("start", count=2)}

    async def all_there() -> bool:
        return (await tasks.agent(mesh, "a1")).in_flight == 6

    await mesh.eventually(all_there, "six tasks are at a1")
    return ids, running, {request.text for request in requests} - running


async def nothing_counted(mesh: MeshHarness, ids: list[str]) -> None:
    for task in (await tasks.ended(mesh, ids)).values():
        assert task.state == task_pb2.TASK_STATE_SUCCEEDED, tasks.describe(task)
        assert task.crashes == 0, tasks.describe(task)


async def test_sigterm_finishes_what_runs_and_hands_back_what_waits(mesh: MeshHarness) -> None:
    ledger = await two_agents(mesh)
    ids, running, waiting = await fill(mesh, ledger, sleep_s=2.0)
    await want(mesh, "a2", fleet_pb2.DESIRED_STATE_ACTIVE)

    leaving = mesh.agents["a1"]
    stopped_at = time.time()
    assert await leaving.terminate() == 0
    await mesh.wait_agent("a1", fleet_pb2.AGENT_STATE_LOST)

    await nothing_counted(mesh, ids)
    starts = {fact.text: fact for fact in ledger.facts("start")}
    assert len(ledger.facts("start")) == 6
    assert {text for text, fact in starts.items() if fact.agent_id == "a1"} == running
    assert {text for text, fact in starts.items() if fact.agent_id == "a2"} == waiting
    # At once, not when the running ones had ended.
    assert max(starts[text].time_s for text in waiting) - stopped_at < 1.0


async def test_what_outlasts_the_drain_grace_is_handed_over(mesh: MeshHarness) -> None:
    ledger = await two_agents(mesh, slots=3, drain_grace_s=0.3, program=PROBE_AGENT)
    ids = []
    # The isolated one first: its process may still be starting.
    for name in ("CallIsolated", "CallSync", "Call"):
        request = ProbeRequest(text=name, sleep_s=3.0, ledger=ledger.path)
        ids.append(await tasks.submit(mesh, request, name, ONE_CHANCE))
        await ledger.until("start", name)
    await want(mesh, "a2", fleet_pb2.DESIRED_STATE_ACTIVE)

    stopped_at = time.monotonic()
    assert await mesh.agents["a1"].terminate() == 0
    assert time.monotonic() - stopped_at < 3.0

    await nothing_counted(mesh, ids)
    again = [fact for fact in ledger.facts("start") if fact.agent_id == "a2"]
    assert {fact.text for fact in again} == {"CallIsolated", "CallSync", "Call"}


async def test_an_operator_drains_an_agent_and_takes_it_back(mesh: MeshHarness) -> None:
    ledger = await two_agents(mesh)
    ids, running, waiting = await fill(mesh, ledger, sleep_s=1.5)
    await want(mesh, "a2", fleet_pb2.DESIRED_STATE_ACTIVE)
    epoch = (await tasks.agent(mesh, "a1")).epoch

    answer = await want(mesh, "a1", fleet_pb2.DESIRED_STATE_DRAINING)
    assert answer.desired_state == fleet_pb2.DESIRED_STATE_DRAINING
    await mesh.wait_agent("a1", fleet_pb2.AGENT_STATE_DRAINING)
    await nothing_counted(mesh, ids)

    starts = {fact.text: fact.agent_id for fact in ledger.facts("start")}
    assert len(ledger.facts("start")) == 6
    assert {text for text, agent_id in starts.items() if agent_id == "a1"} == running
    assert {text for text, agent_id in starts.items() if agent_id == "a2"} == waiting
    # It is still there, and takes nothing though it is idle.
    answers = [await mesh.probe().Call(ProbeRequest(text="x"), timeout=10) for _ in range(4)]
    assert {answer.agent_id for answer in answers} == {"a2"}

    await want(mesh, "a1", fleet_pb2.DESIRED_STATE_ACTIVE)
    await mesh.agents["a2"].terminate()
    assert (await mesh.probe().Call(ProbeRequest(text="y"), timeout=10)).agent_id == "a1"
    assert (await tasks.agent(mesh, "a1")).epoch == epoch


async def test_a_paused_agent_keeps_what_it_has_and_takes_nothing_new(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    ledger = mesh.ledger()
    await mesh.agent("a1", slots=2, prefetch=4, program=tasks.PLAIN)
    ids, _, _ = await fill(mesh, ledger, sleep_s=0.4)

    await want(mesh, "a1", fleet_pb2.DESIRED_STATE_PAUSED)
    await mesh.wait_agent("a1", fleet_pb2.AGENT_STATE_PAUSED)
    later = await tasks.submit(mesh, ProbeRequest(text="later", ledger=ledger.path))
    await nothing_counted(mesh, ids)
    assert {fact.agent_id for fact in ledger.facts("start")} == {"a1"}
    assert (await tasks.look(mesh, later)).state == task_pb2.TASK_STATE_QUEUED
    # The wish holds for the agent's next process too.
    await mesh.agents["a1"].terminate()
    await mesh.agent("a1", slots=2, wait=False, program=tasks.PLAIN)
    await mesh.wait_agent("a1", fleet_pb2.AGENT_STATE_PAUSED)
    assert (await tasks.look(mesh, later)).state == task_pb2.TASK_STATE_QUEUED

    await want(mesh, "a1", fleet_pb2.DESIRED_STATE_ACTIVE)
    assert tasks.reply(await tasks.end(mesh, later)).agent_id == "a1"


async def test_a_paused_queue_holds_its_tasks_back_and_no_others(shared_mesh: MeshHarness) -> None:
    mesh, ledger = shared_mesh, shared_mesh.ledger()

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
