"""An agent that fails at once always has room: it must not draw the work of those that can do it. Mended, it gets work again.

The store is the embedded one, or a Redis with two coordinators.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import NamedTuple

import pytest
from google.rpc import code_pb2, status_pb2

from tests.support.command import weft
from tests.support.lightweight import ECHO, LightAgent, never, result_of
from tests.support.mesh import MeshHarness
from weft.coordinator.sessions.agent_outcomes import RULES
from weft.rpc.times import duration
from weft.v1 import coordinator_pb2 as api
from weft.v1 import options_pb2, session_pb2, task_pb2

TASKS = 600
# The most of them that a failing agent may run.
FEW = TASKS * 5 // 100
WORK_S = 0.005
MENDED_S = 10.0


def broken(assignment: session_pb2.Assignment) -> session_pb2.AttemptResult:
    return result_of(assignment, status=status_pb2.Status(code=code_pb2.UNAVAILABLE, message="broken"))


class Worker:
    """An agent that answers all that it has after a while: OK, or with a code of failure."""

    def __init__(self, agent: LightAgent) -> None:
        self.agent = agent
        self.work_s = WORK_S
        self.code = 0
        self.succeeded = 0
        # The largest number of attempts at a time.
        self.most = 0
        self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        done = 0
        while True:
            some, done = self.agent.assigned[done:], len(self.agent.assigned)
            self.most = max(self.most, len(some))
            if some:
                await asyncio.sleep(self.work_s)
                status = status_pb2.Status(code=self.code, message="broken" if self.code else "")
                self.succeeded += len(some) * (not self.code)
                results = [result_of(each, status=status) for each in some]
                await self.agent.send(session_pb2.ConnectRequest(results=results))
            else:
                await asyncio.sleep(0.001)

    def stop(self) -> None:
        self._task.cancel()


@contextlib.asynccontextmanager
async def working(mesh: MeshHarness, agent_id: str, slots: int = 4) -> AsyncIterator[Worker]:
    """An agent that takes its time, and succeeds."""
    # The same process, wherever it connects.
    agent = LightAgent(mesh.own_channel(), agent_id, slots=slots, answer=never, instance_id=agent_id)
    async with agent:
        worker = Worker(agent)
        yield worker
        worker.stop()


async def run_all(mesh: MeshHarness, count: int = TASKS) -> list[task_pb2.Task]:
    """Many tasks at once, to their ends."""
    retry = options_pb2.RetryPolicy(
        initial_backoff=duration(0.02), retryable_codes=[code_pb2.UNAVAILABLE, code_pb2.UNKNOWN]
    )
    request = api.SubmitTaskRequest(method=ECHO, options=task_pb2.TaskOptions(retry=retry))
    bulk = mesh.api().SubmitTasks(timeout=60)
    await bulk.write(api.SubmitTasksRequest(tasks=[request] * count, deliver_results=True))
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
        # On a slow machine it is on trial meanwhile.
        assert len(bad.assigned) <= drawn + 2
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


async def test_a_slow_agent_gets_less(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    async with working(mesh, "fast") as fast, working(mesh, "slow") as slow:
        # Far more than the fast one takes on a busy machine.
        slow.work_s = 0.5
        await mesh.wait_serving()
        for _ in range(30):
            await run_one(mesh)
        # Once is enough to know.
        assert 1 <= len(slow.agent.assigned) <= 3
        assert len(fast.agent.assigned) >= 27
        answer = await mesh.api().GetAgent(api.GetAgentRequest(agent_id="slow"), timeout=5)
        (told,) = answer.agent.slow_methods
        assert told.method == ECHO
        assert told.attempt_time.ToTimedelta() > 2 * told.typical_time.ToTimedelta()
        shown = (await weft("agents", "show", "slow", target=mesh.target)).out
        assert "ProbeService/Echo takes " in shown
        assert "it gets its tasks after other agents" in shown


# -- three agents, one fails ------------------------------------------------------------------------------------------

# Its code, and how long it works before it fails.
KINDS = {
    "works, then fails": (code_pb2.UNAVAILABLE, 0.3),
    "raises": (code_pb2.UNKNOWN, 0.0),
    "UNAVAILABLE": (code_pb2.UNAVAILABLE, 0.0),
}


class ThreeAgents(NamedTuple):
    """One of them fails, at the first coordinator; a good one is at the last."""

    meshes: list[MeshHarness]
    bad: Worker

    async def check_draws_little(self) -> None:
        for kind, (self.bad.code, self.bad.work_s) in KINDS.items():
            before = len(self.bad.agent.assigned)
            tasks = await run_all(self.meshes[0])
            assert {task.state for task in tasks} == {task_pb2.TASK_STATE_SUCCEEDED}, kind
            assert len(self.bad.agent.assigned) - before <= FEW, kind
            # Of later kinds there may be none: it is ejected from the first one on.
            for retried in [task for task in tasks if task.attempt > 1][:1]:
                await self.check_told(retried.id)
        for each in self.meshes:
            await each.eventually(lambda each=each: is_failing(each, "bad"), "each coordinator knows")
            shown = (await weft("agents", "show", "bad", target=each.target)).out
            assert "in a row failed, the last with UN" in shown
            listed = await weft("agents", "list", target=each.target)
            assert "bad: " in listed.err
            assert "in a row failed" in listed.err

    async def check_told(self, task_id: str) -> None:
        """Why another agent had the second attempt."""
        request = api.GetTaskRequest(task_id=task_id)
        task = (await self.meshes[-1].api().GetTask(request, timeout=10)).task
        assert [attempt.agent_id == "bad" for attempt in task.attempts] == [True, False]
        assert [attempt.choice for attempt in task.attempts] == [
            "",
            "another agent than bad, where attempt 1 failed",
        ]
        shown = (await weft("tasks", "get", task_id, target=self.meshes[-1].target)).out
        assert "another agent than bad, where attempt 1 failed" in shown

    async def check_mended(self) -> None:
        """It has work again in time, a little at first."""
        bad = self.bad
        bad.code, bad.work_s, bad.most = 0, WORK_S, 0
        began, before = time.monotonic(), len(bad.agent.assigned)
        while bad.succeeded < 5:
            await run_all(self.meshes[0], 50)
        assert time.monotonic() - began < MENDED_S
        assert len(bad.agent.assigned) - before == bad.succeeded
        assert bad.most <= 40, "no flood"
        for each in self.meshes:
            await each.eventually(lambda each=each: is_well(each, "bad"), "each coordinator knows")


async def is_failing(mesh: MeshHarness, agent_id: str) -> bool:
    return agent_id in await failing_here(mesh)


async def is_well(mesh: MeshHarness, agent_id: str) -> bool:
    return agent_id not in await failing_here(mesh)


@pytest.mark.slow
async def test_one_of_three_that_fails(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    # As many slots as a sidecar has.
    async with working(mesh, "bad", slots=256) as bad, working(mesh, "good-1"), working(mesh, "good-2"):
        await mesh.wait_serving()
        three = ThreeAgents([mesh], bad)
        await three.check_draws_little()
        await three.check_mended()


@pytest.mark.slow
async def test_one_of_three_that_fails_with_two_coordinators(pair: tuple[MeshHarness, MeshHarness]) -> None:
    mesh, other = pair
    async with (
        working(mesh, "bad", slots=16) as bad,
        working(other, "good-1"),
        working(other, "good-2"),
    ):
        await mesh.wait_serving()
        await other.wait_serving()

        async def all_known() -> bool:
            queues = (await mesh.api().ListQueues(api.ListQueuesRequest(), timeout=5)).queues
            return any(queue.method == ECHO and queue.agents == 3 for queue in queues)

        await mesh.eventually(all_known, "each coordinator knows the other's agents")
        three = ThreeAgents([mesh, other], bad)
        await three.check_draws_little()
        await bad.agent.close(goodbye=False)
        # It moves to the other coordinator, which knows of its failures.
        async with working(other, "bad", slots=16) as moved:
            moved.code, moved.work_s = code_pb2.UNAVAILABLE, 0.0
            assert await is_failing(other, "bad")
            await run_all(other)
            assert len(moved.agent.assigned) < RULES.first_series
            await ThreeAgents([mesh, other], moved).check_mended()
