"""A handler in a thread that cannot be stopped keeps its slot: it is counted and shown, and at a limit ends the agent."""

from __future__ import annotations

import time

import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.command import weft
from tests.support.mesh import MeshHarness
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, task_pb2


@pytest.mark.slow
async def test_no_task_waits_behind_a_stuck_thread(mesh: MeshHarness) -> None:
    await mesh.coordinator(heartbeat_interval_s=0.2)
    await mesh.agent("a1", slots=1)
    ledger = mesh.ledger()
    stuck_s = 12.0
    request = ProbeRequest(text="stuck", sleep_s=stuck_s, ignore_cancel=True, ledger=ledger.path)
    stuck = await tasks.submit(mesh, request, "CallSync")
    await ledger.until("start", "stuck")
    began = time.monotonic()
    cancel = coordinator_pb2.CancelTaskRequest(task_id=stuck, grace=duration(0.1))
    await mesh.api().CancelTask(cancel, timeout=10)
    ended = await tasks.end(mesh, stuck)
    assert ended.state == task_pb2.TASK_STATE_CANCELLED

    async def counted() -> bool:
        agent = (await mesh.api().GetAgent(coordinator_pb2.GetAgentRequest(agent_id="a1"), timeout=5)).agent
        return (agent.used_slots, agent.in_flight) == (1, 0)

    async def listed() -> bool:
        done = await weft("agents", "list", target=mesh.target)
        return "handlers that ignore their cancellation use 1 of its slots (probe.v1." in done.err

    await mesh.eventually(counted, "the stuck slot is counted", timeout_s=5)
    await mesh.eventually(listed, "an operator sees whose slot it is", timeout_s=5)
    waiting = await tasks.submit(mesh, ProbeRequest(text="next"), "CallSync")
    await mesh.agent("a2", slots=1)
    done = await tasks.end(mesh, waiting)
    assert (done.state, done.agent_id) == (task_pb2.TASK_STATE_SUCCEEDED, "a2")
    assert time.monotonic() - began < stuck_s, "a1 was free again, which proves nothing"


async def test_an_agent_with_too_many_ends_with_a_status_of_its_own(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    settings = {"WEFT_AGENT_RESTART_AT_OVERRUN_SLOTS": "1"}
    agent = await mesh.agent("a1", slots=4, drain_grace_s=30, env=settings)
    ledger = mesh.ledger()
    request = ProbeRequest(text="stuck", sleep_s=60, ignore_cancel=True, ledger=ledger.path)
    stuck = await tasks.submit(mesh, request, "CallSync")
    await ledger.until("start", "stuck")
    cancel = coordinator_pb2.CancelTaskRequest(task_id=stuck, grace=duration(0.1))
    await mesh.api().CancelTask(cancel, timeout=10)
    # Not after the grace: nobody waits for the thread.
    assert await agent.wait(timeout_s=15) == 75
    assert "hold 1 of 4 slots (probe.v1.ProbeService/CallSync)" in agent.output()
    assert (await tasks.look(mesh, stuck)).state == task_pb2.TASK_STATE_CANCELLED
