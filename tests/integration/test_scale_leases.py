"""Leases when something other than the agent is slow, and the register of agents over a long time."""

from __future__ import annotations

import asyncio

from tests.support.lightweight import CALL, LightAgent, never, result_of
from tests.support.mesh import MeshHarness
from weft.v1 import coordinator_pb2 as api
from weft.v1 import fleet_pb2, task_pb2
from weft.v1.session_pb2 import ConnectRequest


async def test_a_paused_coordinator_blames_no_agent(mesh: MeshHarness) -> None:
    """Suspended past every lease and resumed: what agents sent meanwhile lies in the sockets, unread."""
    coordinator = await mesh.coordinator(heartbeat_interval_s=0.2)
    async with LightAgent(mesh.own_channel(), "patient", methods=(CALL,), answer=never) as agent:
        await mesh.wait_serving()
        task_id = (await mesh.api().SubmitTask(api.SubmitTaskRequest(method=CALL), timeout=5)).task.id

        async def assigned() -> bool:
            return bool(agent.assigned)

        await mesh.eventually(assigned, "the task is assigned")
        for _ in range(2):
            coordinator.pause()
            await asyncio.sleep(1)
            coordinator.resume()
            assert await mesh.agent_states() == {"patient": fleet_pb2.AGENT_STATE_ACTIVE}
        await agent.send(ConnectRequest(results=[result_of(agent.assigned[0])]))
        async for ended in mesh.api().WaitTasks(api.WaitTasksRequest(task_ids=[task_id]), timeout=5):
            (task,) = ended.tasks
            assert task.state == task_pb2.TASK_STATE_SUCCEEDED
            assert (task.attempt, task.crashes) == (1, 0)
        found = (await mesh.api().GetAgent(api.GetAgentRequest(agent_id="patient"), timeout=5)).agent
        assert found.epoch == agent.welcome.epoch, "it never had to dial again"


async def test_lost_agents_are_forgotten_but_for_wishes(mesh: MeshHarness) -> None:
    await mesh.coordinator(reconnect_grace_s=0, forget_agents_s=1)
    for number in range(20):
        async with LightAgent(mesh.channel(), f"passing-{number}"):
            pass
    paused = LightAgent(mesh.channel(), "paused")
    await paused.open()
    wish = api.UpdateAgentRequest(agent_id="paused", desired_state=fleet_pb2.DESIRED_STATE_PAUSED)
    await mesh.api().UpdateAgent(wish, timeout=5)
    await paused.close(goodbye=False)
    await mesh.wait_agent("paused", fleet_pb2.AGENT_STATE_LOST)

    async def only_the_wish_is_left() -> bool:
        return await mesh.agent_states() == {"paused": fleet_pb2.AGENT_STATE_LOST}

    await mesh.eventually(only_the_wish_is_left, "agents that passed by are forgotten")
    async with LightAgent(mesh.channel(), "paused") as again:
        assert again.welcome.desired_state == fleet_pb2.DESIRED_STATE_PAUSED
