"""The coordinator dies or is restarted: agents keep what they run, nothing runs twice, nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import grpc
import grpc.aio
import pytest

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support import tasks
from tests.support.ledger import Ledger
from tests.support.mesh import MeshHarness
from tests.support.processes import until
from weft.rpc.errors import from_call
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, task_pb2


def once_each(ledger: Ledger, texts: set[str]) -> None:
    """The ledger has one start of each, and nothing else."""
    assert Counter(fact.text for fact in ledger.facts("start")) == Counter(texts)


async def load(mesh: MeshHarness, ledger: Ledger) -> tuple[dict[str, str], set[str]]:
    """Fill two agents with work and queue more: task ids by text, and the texts of those that end soon."""
    await mesh.agent("a1", slots=3)
    await mesh.agent("a2", slots=3)
    requests = [ProbeRequest(text=f"short-{n}", sleep_s=0.4, ledger=ledger.path) for n in range(3)]
    requests += [ProbeRequest(text=f"long-{n}", sleep_s=3.0, ledger=ledger.path) for n in range(3)]
    running = await tasks.submit_all(mesh, requests)
    await ledger.until("start", count=6)
    queued = [ProbeRequest(text=f"queued-{n}", ledger=ledger.path) for n in range(60)]
    ids = running + await tasks.submit_all(mesh, queued)
    texts = [request.text for request in requests + queued]
    return dict(zip(texts, ids, strict=True)), {"short-0", "short-1", "short-2"}


async def all_done_once(mesh: MeshHarness, ledger: Ledger, ids: dict[str, str]) -> None:
    """Every task has its own answer, from its only start."""
    found = await tasks.ended(mesh, list(ids.values()))
    for text, task_id in ids.items():
        assert tasks.reply(found[task_id]).text == text
        assert found[task_id].crashes == 0, tasks.describe(found[task_id])
    once_each(ledger, set(ids))


@pytest.mark.parametrize("durability", ["process", "full"])
async def test_nothing_runs_again_when_the_coordinator_is_killed_and_restarted(
    mesh: MeshHarness, durability: str
) -> None:
    killed = await mesh.coordinator(durability=durability)
    ledger = mesh.ledger()
    ids, short = await load(mesh, ledger)

    await killed.kill()
    # These end while nobody is there to be told.
    await ledger.until("end", where=lambda fact: fact.text in short, count=len(short))
    await mesh.restart_coordinator()

    await all_done_once(mesh, ledger, ids)
    assert (await tasks.agent(mesh, "a1")).epoch > 0


async def test_nothing_runs_again_after_a_graceful_restart(mesh: MeshHarness) -> None:
    stopped = await mesh.coordinator()
    ledger = mesh.ledger()
    ids, short = await load(mesh, ledger)

    assert await stopped.terminate() == 0
    await ledger.until("end", where=lambda fact: fact.text in short, count=len(short))
    await mesh.restart_coordinator()

    await all_done_once(mesh, ledger, ids)


async def test_results_wait_for_a_coordinator_that_is_away(mesh: MeshHarness) -> None:
    await results_wait_for_the_coordinator(mesh, away_s=1.0)


async def results_wait_for_the_coordinator(mesh: MeshHarness, away_s: float) -> None:
    """Everything that the agents hold is finished when the coordinator goes, and it stays away for a while."""
    killed = await mesh.coordinator()
    ledger = mesh.ledger()
    await mesh.agent("a1", slots=8)
    await mesh.agent("a2", slots=8)
    texts = {f"t{n}" for n in range(16)}
    requests = [ProbeRequest(text=text, sleep_s=0.5, ledger=ledger.path) for text in sorted(texts)]
    ids = await tasks.submit_all(mesh, requests)
    await ledger.until("start", count=16)

    await killed.kill()
    await ledger.until("end", count=16)
    await asyncio.sleep(away_s)
    await mesh.restart_coordinator()

    found = await tasks.ended(mesh, ids)
    assert {tasks.reply(task).text for task in found.values()} == texts
    assert {task.crashes for task in found.values()} == {0}
    once_each(ledger, texts)


async def test_an_agent_that_died_meanwhile_is_given_up_after_the_recovery_grace(mesh: MeshHarness) -> None:
    killed = await mesh.coordinator(recovery_grace_s=1.0)
    ledger = mesh.ledger()
    await mesh.agent("a1", slots=1)
    await mesh.agent("a2", slots=1)
    task_id = await tasks.submit(mesh, ProbeRequest(text="t", sleep_s=1.0, ledger=ledger.path))
    (first,) = await ledger.until("start", "t")

    await killed.kill()
    await mesh.agents[first.agent_id].kill()
    assert not ledger.facts("end")
    await mesh.restart_coordinator()

    answer = tasks.reply(await tasks.end(mesh, task_id))
    assert {first.agent_id, answer.agent_id} == {"a1", "a2"}
    assert [fact.agent_id for fact in ledger.facts("start", "t")] == [first.agent_id, answer.agent_id]


@pytest.mark.parametrize("graceful", [True, False], ids=["stopped", "killed"])
async def test_a_caller_asks_again_with_its_request_id_and_gets_its_answer(
    mesh: MeshHarness, graceful: bool
) -> None:
    coordinator = await mesh.coordinator()
    ledger = mesh.ledger()
    await mesh.agent("a1", slots=1)
    request = ProbeRequest(text="mine", sleep_s=1.0, ledger=ledger.path)
    metadata = (("weft-request-id", "call-1"),)
    call = mesh.probe().Call(request, metadata=metadata, timeout=30)
    (started,) = await ledger.until("start", "mine")
    # A call that waits for its answer is acknowledged by that alone, and stored within a hundredth of a second.
    await until(lambda: time.time() - started.time_s > 0.2, "the call is stored")

    await (coordinator.terminate() if graceful else coordinator.kill())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    if graceful:
        assert from_call(refused.value).reason_name == "STOPPING"
    await mesh.restart_coordinator()

    answer = await mesh.probe().Call(request, metadata=metadata, timeout=30, wait_for_ready=True)
    assert (answer.text, answer.attempt) == ("mine", 1)
    once_each(ledger, {"mine"})


async def test_a_cancellation_survives_the_coordinators_death(mesh: MeshHarness) -> None:
    """The agent cannot hear of it before the crash: it is stopped. It hears of it afterwards."""
    killed = await mesh.coordinator(recovery_grace_s=20)
    ledger = mesh.ledger()
    agent = await mesh.agent("a1", slots=1)
    running = await tasks.submit(mesh, ProbeRequest(text="running", sleep_s=60, ledger=ledger.path))
    queued = await tasks.submit(mesh, ProbeRequest(text="queued", ledger=ledger.path))
    await ledger.until("start", "running")

    agent.pause()
    for task_id in (running, queued):
        request = coordinator_pb2.CancelTaskRequest(task_id=task_id, reason="enough", grace=duration(20))
        answer = await mesh.api().CancelTask(request, timeout=10)
    assert answer.task.state == task_pb2.TASK_STATE_CANCELLED
    await killed.kill()
    await mesh.restart_coordinator()
    agent.resume()

    found = await tasks.ended(mesh, [running, queued])
    for task in found.values():
        assert task.state == task_pb2.TASK_STATE_CANCELLED, tasks.describe(task)
        assert (tasks.code(task), tasks.reason(task)) == ("CANCELLED", "CANCELLED")
    assert ledger.facts("cancelled", "running")
    once_each(ledger, {"running"})


async def test_results_and_request_ids_outlive_the_coordinator(mesh: MeshHarness) -> None:
    killed = await mesh.coordinator()
    ledger = mesh.ledger()
    await mesh.agent("a1", slots=8)
    request = ProbeRequest(text="kept", ledger=ledger.path)
    task_id = await tasks.submit(mesh, request, request_id="kept")
    before = await tasks.end(mesh, task_id)
    failed = await tasks.end(mesh, await tasks.submit(mesh, ProbeRequest(text="f", fail_code=9)))

    await killed.kill()
    await mesh.restart_coordinator()

    assert await tasks.submit(mesh, request, request_id="kept") == task_id
    after = await tasks.look(mesh, task_id)
    assert after.outcome == before.outcome
    assert ProbeReply.FromString(after.outcome.response).task_id == task_id
    assert (await tasks.look(mesh, failed.id)).outcome == failed.outcome
    once_each(ledger, {"kept"})


async def test_operators_wishes_outlive_the_coordinator(mesh: MeshHarness) -> None:
    killed = await mesh.coordinator()
    ledger = mesh.ledger()
    await mesh.agent("a1", slots=1)
    pause = coordinator_pb2.UpdateQueueRequest(method=tasks.method("Call"), paused=True)
    await mesh.api().UpdateQueue(pause, timeout=10)
    task_id = await tasks.submit(mesh, ProbeRequest(text="held back", ledger=ledger.path))

    await killed.kill()
    await mesh.restart_coordinator()
    await mesh.wait_agent("a1")
    # Other methods run, so the agent could have taken it.
    await mesh.probe().CallSync(ProbeRequest(text="other"), timeout=10)
    assert not ledger.facts()

    resume = coordinator_pb2.UpdateQueueRequest(method=tasks.method("Call"), paused=False)
    await mesh.api().UpdateQueue(resume, timeout=10)
    assert tasks.reply(await tasks.end(mesh, task_id)).text == "held back"


async def test_a_delay_outlives_the_coordinator(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("a1", slots=1)
    ledger = mesh.ledger()
    submitted_at = time.time()
    task_id = await tasks.submit(
        mesh, ProbeRequest(text="t", ledger=ledger.path), options=task_pb2.TaskOptions(delay=duration(2.0))
    )
    await mesh.restart_coordinator()
    await tasks.end(mesh, task_id)
    started = ledger.facts("start", "t")
    assert len(started) == 1
    assert started[0].time_s >= submitted_at + 2.0
