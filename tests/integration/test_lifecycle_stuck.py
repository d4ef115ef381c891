"""A handler in a thread that cannot be stopped keeps its slot, and the coordinator counts it."""

from __future__ import annotations

import time

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.mesh import MeshHarness
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2, task_pb2


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

    await mesh.eventually(counted, "the stuck slot is counted", timeout_s=5)
    waiting = await tasks.submit(mesh, ProbeRequest(text="next"), "CallSync")
    await mesh.agent("a2", slots=1)
    done = await tasks.end(mesh, waiting)
    assert (done.state, done.agent_id) == (task_pb2.TASK_STATE_SUCCEEDED, "a2")
    assert time.monotonic() - began < stuck_s, "a1 was free again, which proves nothing"
