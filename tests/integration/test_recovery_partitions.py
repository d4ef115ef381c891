"""Silence between agents and the coordinator: a cut wire, a paused coordinator, an agent that comes back too late."""

from __future__ import annotations

import asyncio
import time

import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.fault_proxy import FaultProxy
from tests.support.ledger import Ledger
from tests.support.mesh import MeshHarness
from tests.support.processes import Process, until
from weft.v1 import fleet_pb2


async def test_a_partition_past_the_lease_moves_the_work_and_heals(mesh: MeshHarness) -> None:
    await mesh.coordinator(heartbeat_interval_s=0.3)
    ledger = mesh.ledger()
    async with FaultProxy(mesh.target) as proxy:
        await asyncio.gather(
            mesh.agent("far", slots=2, target=proxy.address, labels={"role": "far"}, program=tasks.PLAIN),
            mesh.agent("near", slots=4, program=tasks.PLAIN),
        )
        requests = [ProbeRequest(text=f"t{n}", sleep_s=1.5, ledger=ledger.path) for n in range(6)]
        ids = await tasks.submit_all(mesh, requests)
        starts = await ledger.until("start", count=6)
        cut_off = {fact.text for fact in starts if fact.agent_id == "far"}
        assert len(cut_off) == 2

        await proxy.blackhole()
        await mesh.wait_agent("far", fleet_pb2.AGENT_STATE_LOST)
        found = await tasks.ended(mesh, ids)
        assert {tasks.reply(task).agent_id for task in found.values()} == {"near"}
        # The far side has finished too, and nobody has heard of it.
        await ledger.until("end", where=lambda fact: fact.agent_id == "far", count=2)
        await proxy.heal()

        await mesh.wait_agent("far")
        for task_id, task in found.items():
            assert (await tasks.look(mesh, task_id)).outcome == task.outcome
            assert task.crashes == (tasks.reply(task).text in cut_off)
        after = await tasks.end(
            mesh, await tasks.submit(mesh, ProbeRequest(text="after"), options=tasks.on("far"))
        )
        assert tasks.reply(after).agent_id == "far"
        assert len(ledger.facts("start")) == 8


async def test_a_partition_shorter_than_the_lease_costs_nothing(mesh: MeshHarness) -> None:
    await mesh.coordinator(heartbeat_interval_s=1.0, missed_heartbeats=30)
    ledger = mesh.ledger()
    async with FaultProxy(mesh.target) as proxy:
        await mesh.agent("far", slots=8, target=proxy.address, program=tasks.PLAIN)
        requests = [ProbeRequest(text=f"t{n}", sleep_s=0.3, ledger=ledger.path) for n in range(16)]
        ids = await tasks.submit_all(mesh, requests)
        await ledger.until("start", count=8)

        await proxy.blackhole()
        # The agent takes the stream for dead after three echoes that do not come, and dials in vain.
        await ledger.until("end", count=8)
        await mesh.eventually(lambda: dials(mesh), "the agent has given the stream up")
        await proxy.heal()

        found = await tasks.ended(mesh, ids)
        assert {(task.attempt, task.crashes) for task in found.values()} == {(1, 0)}
        assert len(ledger.facts("start")) == 16


async def dials(mesh: MeshHarness) -> bool:
    return "dialling" in mesh.agents["far"].output()


@pytest.mark.slow
async def test_a_paused_coordinator_and_a_late_agent(mesh: MeshHarness) -> None:
    coordinator = await mesh.coordinator(heartbeat_interval_s=0.3, recovery_grace_s=0.5)
    agents = ("a1", "a2")
    await asyncio.gather(*(mesh.agent(agent_id, slots=2, program=tasks.PLAIN) for agent_id in agents))
    await a_paused_coordinator_costs_its_agents_nothing(mesh, coordinator, mesh.ledger("paused"))
    await an_agent_after_the_recovery_grace_has_lost_its_attempts(mesh, agents, mesh.ledger("late"))


async def a_paused_coordinator_costs_its_agents_nothing(
    mesh: MeshHarness, coordinator: Process, ledger: Ledger
) -> None:
    requests = [ProbeRequest(text=f"t{n}", sleep_s=0.4 * n, ledger=ledger.path) for n in range(8)]
    ids = await tasks.submit_all(mesh, requests)
    await ledger.until("start", count=4)

    coordinator.pause()
    paused_at = time.monotonic()
    await ledger.until("end", count=4)
    # Past every lease, and past the agents' own patience.
    await asyncio.sleep(max(0.0, 2.0 - (time.monotonic() - paused_at)))
    coordinator.resume()

    found = await tasks.ended(mesh, ids)
    assert {(task.attempt, task.crashes) for task in found.values()} == {(1, 0)}
    assert len(ledger.facts("start")) == 8


async def an_agent_after_the_recovery_grace_has_lost_its_attempts(
    mesh: MeshHarness, agents: tuple[str, str], ledger: Ledger
) -> None:
    """The coordinator has forgotten the attempt, and made another with its number. They are not mixed up."""
    task_id = await tasks.submit(mesh, ProbeRequest(text="t", sleep_s=0.5, ledger=ledger.path))
    (first,) = await ledger.until("start", "t")
    mesh.agents[first.agent_id].pause()
    await mesh.restart_coordinator()

    task = await tasks.end(mesh, task_id)
    (other,) = set(agents) - {first.agent_id}
    assert (tasks.reply(task).agent_id, task.attempt) == (other, first.attempt)
    mesh.agents[first.agent_id].resume()
    await mesh.wait_agent(first.agent_id)

    # The late one ends in its own way, and it changes nothing.
    await until(
        lambda: {fact.event for fact in ledger.facts() if fact.agent_id == first.agent_id} > {"start"},
        "the late attempt has ended",
    )
    assert (await tasks.look(mesh, task_id)).outcome == task.outcome
    again = await asyncio.gather(*(mesh.probe().Call(ProbeRequest(sleep_s=0.3), timeout=10) for _ in "1234"))
    assert {answer.agent_id for answer in again} == set(agents)
