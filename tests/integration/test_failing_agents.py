"""An agent that fails at once always has free slots: it must not get the tasks that other agents can do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

from google.rpc import code_pb2, status_pb2

from tests.support.lightweight import ECHO, LightAgent, never, result_of
from tests.support.mesh import MeshHarness
from tests.support.redis_server import RedisServer
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2 as api
from weft.v1 import options_pb2, session_pb2, task_pb2

TASKS = 600
WORK_S = 0.005


def broken(assignment: session_pb2.Assignment) -> session_pb2.AttemptResult:
    return result_of(assignment, status=status_pb2.Status(code=code_pb2.UNAVAILABLE, message="broken"))


@contextlib.asynccontextmanager
async def working(mesh: MeshHarness, agent_id: str) -> AsyncIterator[LightAgent]:
    """An agent that takes its time, and succeeds."""
    async with LightAgent(mesh.own_channel(), agent_id, slots=4, answer=never) as agent:
        worker = asyncio.create_task(_work(agent))
        yield agent
        worker.cancel()


async def _work(agent: LightAgent) -> None:
    done = 0
    while True:
        await asyncio.sleep(WORK_S)
        some, done = agent.assigned[done:], len(agent.assigned)
        if some:
            await agent.send(session_pb2.ConnectRequest(results=[result_of(each) for each in some]))


async def run_all(mesh: MeshHarness) -> list[task_pb2.Task]:
    """Many tasks at once, to their ends."""
    options = task_pb2.TaskOptions(retry=options_pb2.RetryPolicy(initial_backoff=duration(0.02)))
    request = api.SubmitTaskRequest(method=ECHO, options=options)
    bulk = mesh.api().SubmitTasks(timeout=60)
    await bulk.write(api.SubmitTasksRequest(tasks=[request] * TASKS, deliver_results=True))
    await bulk.done_writing()
    return [task async for response in bulk for task in response.finished]


async def failing_here(mesh: MeshHarness) -> list[str]:
    answer = await mesh.api().ListAgents(api.ListAgentsRequest(), timeout=5)
    return [agent.id for agent in answer.agents if agent.failing]


def check(tasks: list[task_pb2.Task], bad: LightAgent) -> None:
    assert [task.state for task in tasks] == [task_pb2.TASK_STATE_SUCCEEDED] * TASKS
    # Its slots once before it is known, and again each time that it is tried.
    assert 0 < len(bad.assigned) < 40
    assert max(task.attempt for task in tasks) <= 3


async def test_an_agent_that_fails_at_once_draws_little(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with (
        LightAgent(mesh.own_channel(), "bad", slots=4, answer=broken) as bad,
        working(mesh, "good-1"),
        working(mesh, "good-2"),
    ):
        await mesh.wait_serving()
        check(await run_all(mesh), bad)
        assert await failing_here(mesh) == ["bad"]
        # A lone task, which the idle one would be given first, goes to another too.
        drawn = len(bad.assigned)
        for _ in range(5):
            assert (await run_one(mesh)).agent_id.startswith("good")
        assert len(bad.assigned) == drawn
    assert "agent.failing" in mesh.logs()


async def run_one(mesh: MeshHarness) -> task_pb2.Task:
    bulk = mesh.api().SubmitTasks(timeout=10)
    await bulk.write(api.SubmitTasksRequest(tasks=[api.SubmitTaskRequest(method=ECHO)], deliver_results=True))
    await bulk.done_writing()
    (task,) = [task async for response in bulk for task in response.finished]
    return task


async def test_where_all_fail_all_are_tried(mesh: MeshHarness) -> None:
    """Each attempt by another agent, and none waits."""
    await mesh.coordinator()
    async with (
        LightAgent(mesh.own_channel(), "bad-1", answer=broken) as one,
        LightAgent(mesh.own_channel(), "bad-2", answer=broken) as other,
    ):
        await mesh.wait_serving()
        for _ in range(3):
            task = await run_one(mesh)
            assert (task.state, task.attempt) == (task_pb2.TASK_STATE_FAILED, 5)
        attempts = sorted(
            (a.task_id, a.attempt, who) for who, agent in enumerate((one, other)) for a in agent.assigned
        )
        assert all(first[2] != second[2] for first, second in pairwise(attempts) if first[0] == second[0])


async def test_the_only_agent_gets_its_retries_at_once(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with LightAgent(mesh.own_channel(), "bad", answer=broken) as bad:
        await mesh.wait_serving()
        task = await run_one(mesh)
        assert (task.state, len(bad.assigned)) == (task_pb2.TASK_STATE_FAILED, 5)


async def test_so_it_is_with_several_coordinators(mesh: MeshHarness, tmp_path: Path) -> None:
    """One coordinator has the broken agent, the other those that work."""
    folder = tmp_path / "other"
    folder.mkdir()
    async with RedisServer(tmp_path / "redis") as redis, MeshHarness(folder) as other:
        mesh.store = other.store = redis.url
        await asyncio.gather(mesh.coordinator(), other.coordinator())
        async with (
            LightAgent(mesh.own_channel(), "bad", slots=4, answer=broken) as bad,
            working(other, "good-1"),
            working(other, "good-2"),
        ):
            await mesh.wait_serving()
            await other.wait_serving()

            async def all_known() -> bool:
                queues = (await mesh.api().ListQueues(api.ListQueuesRequest(), timeout=5)).queues
                return any(queue.method == ECHO and queue.agents == 3 for queue in queues)

            await mesh.eventually(all_known, "each coordinator knows the other's agents")
            check(await run_all(mesh), bad)
