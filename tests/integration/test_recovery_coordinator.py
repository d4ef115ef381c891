"""The coordinator dies or is restarted: agents keep what they run, nothing runs twice, nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

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

End = Callable[[MeshHarness], Awaitable[None]]


@pytest.fixture
def ledger(mesh_of_two: MeshHarness, request: pytest.FixtureRequest) -> Ledger:
    return mesh_of_two.ledger(request.node.name)


@pytest.fixture
async def mesh_of_two(shared_mesh: MeshHarness) -> MeshHarness:
    """A coordinator that the tests kill and restart, with two agents of eight slots that live through it."""
    if "a2" not in shared_mesh.agents:
        await shared_mesh.agent("a2", slots=8, program=tasks.PLAIN)
    for agent_id in ("a1", "a2"):
        await shared_mesh.wait_agent(agent_id)
    return shared_mesh


async def kill(mesh: MeshHarness) -> None:
    """SIGKILL the coordinator."""
    assert mesh.coordinator_process is not None
    await mesh.coordinator_process.kill()


async def stop(mesh: MeshHarness) -> None:
    """SIGTERM the coordinator, which ends well."""
    assert mesh.coordinator_process is not None
    assert await mesh.coordinator_process.terminate() == 0


def once_each(ledger: Ledger, texts: set[str]) -> None:
    """The ledger has one start of each, and nothing else."""
    assert Counter(fact.text for fact in ledger.facts("start")) == Counter(texts)


async def load(mesh: MeshHarness, ledger: Ledger) -> tuple[dict[str, str], set[str]]:
    """Fill two agents with work and queue more: task ids by text, and the texts of those that end soon."""
    requests = [ProbeRequest(text=f"short-{n}", sleep_s=0.4, ledger=ledger.path) for n in range(8)]
    requests += [ProbeRequest(text=f"long-{n}", sleep_s=3.0, ledger=ledger.path) for n in range(8)]
    running = await tasks.submit_all(mesh, requests)
    await ledger.until("start", count=16)
    queued = [ProbeRequest(text=f"queued-{n}", ledger=ledger.path) for n in range(100)]
    ids = running + await tasks.submit_all(mesh, queued)
    texts = [request.text for request in requests + queued]
    return dict(zip(texts, ids, strict=True)), {text for text in texts if text.startswith("short")}


async def all_done_once(mesh: MeshHarness, ledger: Ledger, ids: dict[str, str]) -> None:
    """Every task has its own answer, from its only start."""
    found = await tasks.ended(mesh, list(ids.values()))
    for text, task_id in ids.items():
        assert tasks.reply(found[task_id]).text == text
        assert found[task_id].crashes == 0, tasks.describe(found[task_id])
    once_each(ledger, set(ids))


@pytest.mark.parametrize("end", [kill, stop], ids=["killed", "stopped"])
async def test_nothing_runs_again_when_the_coordinator_ends_and_is_restarted(
    mesh_of_two: MeshHarness, ledger: Ledger, end: End
) -> None:
    mesh = mesh_of_two
    ids, short = await load(mesh, ledger)

    await end(mesh)
    # These end while nobody is there to be told.
    await ledger.until("end", where=lambda fact: fact.text in short, count=len(short))
    await mesh.restart_coordinator()

    await all_done_once(mesh, ledger, ids)


async def test_nothing_runs_again_at_full_durability(mesh: MeshHarness) -> None:
    killed = await mesh.coordinator(durability="full")
    ledger = mesh.ledger()
    await asyncio.gather(
        mesh.agent("a1", slots=8, program=tasks.PLAIN), mesh.agent("a2", slots=8, program=tasks.PLAIN)
    )
    ids, short = await load(mesh, ledger)

    await killed.kill()
    await ledger.until("end", where=lambda fact: fact.text in short, count=len(short))
    await mesh.restart_coordinator()

    await all_done_once(mesh, ledger, ids)


@pytest.mark.parametrize("away_s", [1.0, pytest.param(10.0, marks=pytest.mark.slow)])
async def test_results_wait_for_a_coordinator_that_is_away(
    mesh_of_two: MeshHarness, ledger: Ledger, away_s: float
) -> None:
    """Everything that the agents hold is finished when the coordinator goes, and it stays away for a while."""
    mesh = mesh_of_two
    texts = {f"t{n}" for n in range(16)}
    requests = [ProbeRequest(text=text, sleep_s=0.5, ledger=ledger.path) for text in sorted(texts)]
    ids = await tasks.submit_all(mesh, requests)
    await ledger.until("start", count=16)

    await kill(mesh)
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
    await asyncio.gather(
        mesh.agent("a1", slots=1, program=tasks.PLAIN), mesh.agent("a2", slots=1, program=tasks.PLAIN)
    )
    task_id = await tasks.submit(mesh, ProbeRequest(text="t", sleep_s=1.0, ledger=ledger.path))
    (first,) = await ledger.until("start", "t")

    await killed.kill()
    await mesh.agents[first.agent_id].kill()
    assert not ledger.facts("end")
    await mesh.restart_coordinator()

    answer = tasks.reply(await tasks.end(mesh, task_id))
    assert {first.agent_id, answer.agent_id} == {"a1", "a2"}
    assert [fact.agent_id for fact in ledger.facts("start", "t")] == [first.agent_id, answer.agent_id]


@pytest.mark.parametrize("end", [kill, stop], ids=["killed", "stopped"])
async def test_a_caller_asks_again_with_its_request_id_and_gets_its_answer(
    mesh_of_two: MeshHarness, ledger: Ledger, end: End
) -> None:
    mesh = mesh_of_two
    request = ProbeRequest(text="mine", sleep_s=1.0, ledger=ledger.path)
    metadata = (("weft-request-id", end.__name__),)
    call = mesh.probe().Call(request, metadata=metadata, timeout=30)
    (started,) = await ledger.until("start", "mine")
    # A call that waits for its answer is acknowledged by that alone, and stored within a hundredth of a second.
    await until(lambda: time.time() - started.time_s > 0.2, "the call is stored")

    await end(mesh)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    if end is stop:
        assert from_call(refused.value).reason_name == "STOPPING"
    await mesh.restart_coordinator()

    answer = await mesh.probe().Call(request, metadata=metadata, timeout=30, wait_for_ready=True)
    assert (answer.text, answer.attempt) == ("mine", 1)
    once_each(ledger, {"mine"})


async def test_a_cancellation_survives_the_coordinators_death(mesh: MeshHarness) -> None:
    """The agent cannot hear of it before the crash: it is paused. It hears of it afterwards."""
    killed = await mesh.coordinator(recovery_grace_s=20)
    ledger = mesh.ledger()
    agent = await mesh.agent("a1", slots=1, program=tasks.PLAIN)
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


async def test_results_and_request_ids_outlive_the_coordinator(
    mesh_of_two: MeshHarness, ledger: Ledger
) -> None:
    mesh = mesh_of_two
    request = ProbeRequest(text="kept", ledger=ledger.path)
    task_id = await tasks.submit(mesh, request, request_id="kept")
    before = await tasks.end(mesh, task_id)
    failed = await tasks.end(mesh, await tasks.submit(mesh, ProbeRequest(text="f", fail_code=9)))

    await kill(mesh)
    await mesh.restart_coordinator()

    assert await tasks.submit(mesh, request, request_id="kept") == task_id
    after = await tasks.look(mesh, task_id)
    assert after.outcome == before.outcome
    assert ProbeReply.FromString(after.outcome.response).task_id == task_id
    assert (await tasks.look(mesh, failed.id)).outcome == failed.outcome
    once_each(ledger, {"kept"})


async def test_operators_wishes_outlive_the_coordinator(mesh_of_two: MeshHarness, ledger: Ledger) -> None:
    mesh = mesh_of_two
    pause = coordinator_pb2.UpdateQueueRequest(method=tasks.method("Call"), paused=True)
    await mesh.api().UpdateQueue(pause, timeout=10)
    task_id = await tasks.submit(mesh, ProbeRequest(text="held back", ledger=ledger.path))

    await kill(mesh)
    await mesh.restart_coordinator()
    await mesh.wait_agent("a1")
    # Other methods run, so the agent could have taken it.
    await mesh.probe().CallSync(ProbeRequest(text="other"), timeout=10)
    assert not ledger.facts()

    resume = coordinator_pb2.UpdateQueueRequest(method=tasks.method("Call"), paused=False)
    await mesh.api().UpdateQueue(resume, timeout=10)
    assert tasks.reply(await tasks.end(mesh, task_id)).text == "held back"


async def test_a_delay_outlives_the_coordinator(mesh_of_two: MeshHarness, ledger: Ledger) -> None:
    mesh = mesh_of_two
    submitted_at = time.time()
    task_id = await tasks.submit(
        mesh, ProbeRequest(text="t", ledger=ledger.path), options=task_pb2.TaskOptions(delay=duration(2.0))
    )
    await mesh.restart_coordinator()
    await tasks.end(mesh, task_id)
    started = ledger.facts("start", "t")
    assert len(started) == 1
    assert started[0].time_s >= submitted_at + 2.0
