"""A coordinator under a steady flow of single tasks: what is assigned and what has ended goes out joined, message by message."""

from __future__ import annotations

import asyncio
import time

from tests.support.lightweight import ECHO, LightAgent, never, result_of
from tests.support.mesh import MeshHarness
from weft.rpc.calls.pacing import FEW_ITEMS, LEAST_GAP_S
from weft.v1 import coordinator_pb2 as api
from weft.v1 import session_pb2

TASKS = 300
APART_S = 0.0005


async def test_many_tasks_under_way_share_messages(mesh: MeshHarness) -> None:
    """Assigned one by one, then ended one by one: on both streams there is a gap between messages."""
    await mesh.coordinator()
    async with LightAgent(mesh.own_channel(), "a", slots=TASKS, answer=never) as agent:
        await mesh.wait_serving()
        bulk = mesh.api().SubmitTasks()
        began_s = time.monotonic()
        for number in range(TASKS):
            task = api.SubmitTaskRequest(method=ECHO)
            await bulk.write(api.SubmitTasksRequest(tasks=[task], deliver_results=number == 0))
            await asyncio.sleep(APART_S)
        await agent.assigned_to(TASKS)
        took_s = time.monotonic() - began_s
        messages = sum(bool(message.assignments) for message in agent.received)
        assert messages <= FEW_ITEMS + 2 + took_s / LEAST_GAP_S

        acknowledged = 0
        while acknowledged < TASKS:
            acknowledged += len((await bulk.read()).acks)
        began_s = time.monotonic()
        reader = asyncio.ensure_future(_finished(bulk))
        for given in agent.assigned:
            await agent.send(session_pb2.ConnectRequest(results=[result_of(given)]))
            await asyncio.sleep(APART_S)
        messages = await reader
        took_s = time.monotonic() - began_s
        # The last few go at once again.
        assert messages <= 2 * FEW_ITEMS + 2 + took_s / LEAST_GAP_S
        await bulk.done_writing()


async def _finished(bulk: object) -> int:
    """Read until all tasks have come back; says in how many messages."""
    messages = count = 0
    while count < TASKS:
        response = await bulk.read()  # type: ignore[attr-defined]
        messages += 1
        count += len(response.finished)
    return messages


async def test_a_caller_with_one_task_at_a_time_gets_each_answer_alone(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with LightAgent(mesh.own_channel(), "a", slots=4) as agent:
        await mesh.wait_serving()
        bulk = mesh.api().SubmitTasks()
        for number in range(20):
            task = api.SubmitTaskRequest(method=ECHO)
            await bulk.write(api.SubmitTasksRequest(tasks=[task], deliver_results=number == 0))
            acks = finished = 0
            while not finished:
                response = await bulk.read()
                acks, finished = acks + len(response.acks), finished + len(response.finished)
            assert (acks, finished) == (1, 1)
        assert sum(bool(message.assignments) for message in agent.received) == 20
        await bulk.done_writing()
