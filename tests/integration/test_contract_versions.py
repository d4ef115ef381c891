"""Two contracts of one method side by side: what is under way for the old one runs at the new one too, or waits for its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import tasks
from tests.support.mesh import MeshHarness
from tests.support.rolling import METHOD, request_class
from weft.client import DesiredState, Task, TaskState, WaitReason, connect

PROGRAM = "tests.support.rolling:agent"
# The old contract has a field that the new one lacks.
OLD, NEW = request_class(2), request_class(1)


def answer(task: Task) -> Any:
    assert task.state is TaskState.SUCCEEDED
    return OLD.FromString(task.response)


@pytest.mark.slow
async def test_tasks_of_the_old_contract_run_at_the_new_one_or_wait_for_their_own(
    shared_mesh: MeshHarness,
) -> None:
    mesh = shared_mesh
    await mesh.agent("old", slots=1, program=PROGRAM, env={"ROLLING_VERSION": "2"})
    async with connect(mesh.target) as client:
        contract = (await tasks.agent(mesh, "old")).labels["agent.contract"]
        assert len(contract) == 12
        # They are under way when the old version goes.
        await client.fleet.set_state("old", DesiredState.PAUSED)
        request = OLD(text="t", more="mine").SerializeToString()
        free = [await client.tasks.submit(METHOD, request) for _ in range(3)]
        tied = [
            await client.tasks.submit(METHOD, request, require_labels={"agent.contract": contract})
            for _ in range(3)
        ]
        await mesh.agent("new", slots=1, program=PROGRAM, env={"ROLLING_VERSION": "1"})
        assert (await tasks.agent(mesh, "new")).labels["agent.contract"] != contract
        for handle in free:
            ended = await handle.ended(10)
            # What the new handler does not know it passes on.
            assert (ended.agent_id, answer(ended).more) == ("new", "mine")
        for handle in tied:
            task = await handle.snapshot()
            assert task.state is TaskState.QUEUED
            assert task.wait_reason is WaitReason.NO_AGENT
            assert "1 paused" in task.waits_for
        # The old version has left, and is back as another process.
        await mesh.agents["old"].terminate()
        await mesh.agent("old-again", slots=1, program=PROGRAM, env={"ROLLING_VERSION": "2"})
        for handle in tied:
            ended = await handle.ended(10)
            assert (ended.agent_id, answer(ended).more) == ("old-again", "version 2")
