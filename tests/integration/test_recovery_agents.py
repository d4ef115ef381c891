"""Agents that die, and agents that are silent and come back: each of their tasks is done once, by some agent."""

from __future__ import annotations

import asyncio
import time

import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.mesh import MeshHarness
from weft.v1 import fleet_pb2, task_pb2


async def test_attempts_of_a_killed_agent_run_elsewhere_within_three_seconds(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    victim, _ = await asyncio.gather(
        mesh.agent("a1", slots=3, program=tasks.PLAIN), mesh.agent("a2", slots=6, program=tasks.PLAIN)
    )
    await mesh.wait_contract("a1", agents=2)
    ledger = mesh.ledger()
    requests = [ProbeRequest(text=f"t{n}", sleep_s=2.5, ledger=ledger.path) for n in range(6)]
    ids = await tasks.submit_all(mesh, requests)
    lost = {fact.text for fact in await ledger.until("start", count=6) if fact.agent_id == "a1"}
    assert lost

    killed_at = time.time()
    await victim.kill()

    again = await ledger.until("start", where=lambda fact: fact.time_s > killed_at, count=len(lost))
    assert {fact.text for fact in again} == lost
    assert {fact.agent_id for fact in again} == {"a2"}
    assert max(fact.time_s for fact in again) - killed_at < 3.0
    found = await tasks.ended(mesh, ids)
    for number, task_id in enumerate(ids):
        answer = tasks.reply(found[task_id])
        assert answer.text == f"t{number}"
        assert found[task_id].crashes == (1 if answer.text in lost else 0), tasks.describe(found[task_id])
    assert len(ledger.facts("start")) == 6 + len(lost)


async def test_an_agent_restarted_under_its_id_takes_over_at_once(mesh: MeshHarness) -> None:
    """A new process under a dead one's id says that the old attempts are gone: nobody waits for the grace."""
    await mesh.coordinator(reconnect_grace_s=60)
    ledger = mesh.ledger()
    first = await mesh.agent("a1", slots=1, program=tasks.PLAIN)
    task_id = await tasks.submit(mesh, ProbeRequest(text="again", sleep_s=0.5, ledger=ledger.path))
    await ledger.until("start", "again")

    await first.kill()
    await mesh.agent("a1", slots=1, program=tasks.PLAIN)

    task = await tasks.end(mesh, task_id)
    assert tasks.reply(task).attempt == 2
    assert task.crashes == 1


async def test_stale_results_of_a_paused_agent_are_refused_and_counted(mesh: MeshHarness) -> None:
    await mesh.coordinator(heartbeat_interval_s=0.2)
    ledger = mesh.ledger()
    paused = await mesh.agent("a1", slots=2, labels={"role": "first"}, program=tasks.PLAIN)
    requests = [ProbeRequest(text=text, sleep_s=0.3, ledger=ledger.path) for text in ("x", "y")]
    ids = await tasks.submit_all(mesh, requests)
    await ledger.until("start", count=2)

    paused.pause()
    await mesh.agent("a2", slots=2, program=tasks.PLAIN)
    found = await tasks.ended(mesh, ids)
    outcomes = {task_id: task.outcome.SerializeToString() for task_id, task in found.items()}
    for task in found.values():
        assert tasks.reply(task).agent_id == "a2"
        assert (task.attempt, task.crashes) == (2, 1), tasks.describe(task)
    paused.resume()

    async def refused() -> bool:
        return (await tasks.agent(mesh, "a1")).stale_results_refused == 2

    await mesh.eventually(refused, "both stale results of a1 are counted as refused")
    await mesh.wait_agent("a1")
    for task_id in ids:
        task = await tasks.look(mesh, task_id)
        assert task.outcome.SerializeToString() == outcomes[task_id]
        assert task.state == task_pb2.TASK_STATE_SUCCEEDED
    # It works on.
    after = await tasks.end(mesh, await tasks.submit(mesh, ProbeRequest(text="z"), options=tasks.on("first")))
    assert tasks.reply(after).agent_id == "a1"
    assert (await tasks.agent(mesh, "a1")).stale_results_refused == 2


@pytest.mark.slow
@pytest.mark.parametrize("burn_s", [12.0])
async def test_burning_cpu_in_pure_python_does_not_cost_the_session(mesh: MeshHarness, burn_s: float) -> None:
    """A handler in a thread that holds on to the GIL, and on another agent one that never yields to its loop."""
    await mesh.coordinator(heartbeat_interval_s=1.0)
    roles = ("thread", "loop")
    await asyncio.gather(
        *(mesh.agent(role, slots=4, labels={"role": role}, program=tasks.PLAIN) for role in roles)
    )
    before = {agent_id: await tasks.agent(mesh, agent_id) for agent_id in roles}
    ledger = mesh.ledger()
    ids = []
    for role, name in (("thread", "CallSync"), ("loop", "Call")):
        request = ProbeRequest(text=role, burn_s=burn_s, ledger=ledger.path)
        ids.append(await tasks.submit(mesh, request, name, tasks.on(role)))
    await ledger.until("start", count=2)

    # Beside the thread that burns, other calls are answered. (A loop that is blocked is blocked.)
    metadata = (("weft-require", "role=thread"),)
    for call in (mesh.probe().Call, mesh.probe().CallSync):
        answer = await call(ProbeRequest(text="meanwhile"), metadata=metadata, timeout=burn_s)
        assert answer.agent_id == "thread"
    assert not ledger.facts("end")

    found = await tasks.ended(mesh, ids, timeout_s=3 * burn_s + 20)
    assert {(task.attempt, task.crashes) for task in found.values()} == {(1, 0)}
    for agent_id, known in before.items():
        after = await tasks.agent(mesh, agent_id)
        assert (after.epoch, after.instance_id) == (known.epoch, known.instance_id)
        assert after.state == fleet_pb2.AGENT_STATE_ACTIVE
