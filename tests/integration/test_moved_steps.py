"""A handler that has taken steps goes on in another mesh where it was: what it has done is not done again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct

from tests.support.namespaced import Sites, sites_on
from tests.support.state_api import counted, exported, imported
from weft.agent import Agent, current_task
from weft.client import Mesh, Method, Task, connect
from weft.v1 import state_pb2, task_pb2

SERVICE = "moved.v1.Work"


def method(name: str) -> Method[Struct, Struct]:
    return Method.of(f"{SERVICE}/{name}", Struct, Struct)


@asynccontextmanager
async def serving(sites: Sites, done: Counter[str], failing: bool = False) -> AsyncIterator[Mesh]:
    target = sites.coordinators[0].address
    agent = Agent("worker", target=target, slots=8)

    @agent.method(f"{SERVICE}/Child")
    async def _(request: dict[str, Any]) -> dict[str, Any]:
        done["child"] += 1
        return {"paid": 7}

    @agent.method(f"{SERVICE}/Slow")
    async def _(request: dict[str, Any]) -> dict[str, Any]:
        done["slow"] += 1
        if failing:
            await asyncio.Event().wait()
        return {"slow": 1}

    @agent.method(f"{SERVICE}/Order", durable_children=True)
    async def _(request: dict[str, Any]) -> dict[str, Any]:
        task = current_task()

        def charge() -> int:
            done["charge"] += 1
            return 42

        number = await task.step("charge", charge)
        child = await task.mesh.tasks.call(method("Child"), Struct())
        early = await task.wait_signal("early")
        slow = await task.mesh.tasks.submit(method("Slow"), Struct())
        late = await task.wait_signal("late")
        return {"all": [number, child["paid"], early, late, (await slow.result())["slow"]]}

    running = asyncio.create_task(agent.serve())
    try:
        async with connect(target) as mesh:
            yield mesh
    finally:
        agent.stop()
        await running


async def until(mesh: Mesh, task_id: str, state: str) -> Task:
    async with asyncio.timeout(20):
        while (found := await mesh.tasks.get(task_id)).state.name != state or (
            state == "SCHEDULED" and found.proto.attempt < 1
        ):
            await asyncio.sleep(0.02)
    return found


@pytest.mark.parametrize(
    ("before", "after"), [("embedded", "redis"), pytest.param("redis", "embedded", marks=pytest.mark.slow)]
)
async def test_a_handler_goes_on_where_it_was(tmp_path: Path, before: str, after: str) -> None:
    done: Counter[str] = Counter()
    folders = [tmp_path / "from", tmp_path / "to"]
    for folder in folders:
        folder.mkdir()
    async with sites_on(before, folders[0]) as one, sites_on(after, folders[1]) as other:
        async with serving(one, done) as mesh:
            handle = await submitted(mesh)
            await mesh.tasks.signal(handle, "early", "soon")
            # It waits for the other signal.
            async with asyncio.timeout(20):
                while not done["slow"]:
                    await asyncio.sleep(0.02)
            await until(mesh, handle, "SCHEDULED")
        records = await exported(one)
        kinds = Counter(each.WhichOneof("record") for each in records)
        # Two signals' records and the step; two calls that have succeeded.
        assert kinds["step"] == 3, kinds
        assert kinds["task"] == 1
        answer = await imported(other, records)
        assert not answer.problems, answer.problems
        assert counted(answer)["step"] == (3, 0, 0)
        again = await imported(other, records)
        assert counted(again)["step"] == (0, 3, 0)
        assert counted(again)["task"] == (0, 1, 0)
        async with serving(other, done) as mesh:
            (moved,) = [each async for each in mesh.tasks.list(request_id="order-1")]
            await mesh.tasks.signal(moved.id, "late", "now")
            ended = await until(mesh, moved.id, "SUCCEEDED")
            response = Struct.FromString(ended.proto.outcome.response)
            assert list(response["all"]) == [42, 7, "soon", "now", 1]  # type: ignore[arg-type]
        assert done == {"charge": 1, "child": 1, "slow": 1}


async def submitted(mesh: Mesh) -> str:
    async with asyncio.timeout(20):
        while True:
            try:
                return (await mesh.tasks.submit(method("Order"), Struct(), request_id="order-1")).id
            except Exception:  # the agent is not there yet
                await asyncio.sleep(0.05)


async def test_records_that_cannot_be_are_told(tmp_path: Path) -> None:
    async with sites_on("embedded", tmp_path) as sites:
        header = state_pb2.StateRecord(header=state_pb2.StateHeader(format=1))
        bad = [
            state_pb2.StateStep(),
            state_pb2.StateStep(task_id="t", steps=[{"name": "a", "kind": 99}]),  # type: ignore[list-item]
            state_pb2.StateStep(task_id="t", steps=[{"name": "", "kind": 1}]),  # type: ignore[list-item]
            state_pb2.StateStep(task_id="t", call=state_pb2.StateTask(task=task_pb2.Task(id="c"))),
        ]
        answer = await imported(sites, [header, *(state_pb2.StateRecord(step=each) for each in bad)])
        assert counted(answer)["step"] == (0, 0, 4)
        assert len(answer.problems) == 4
