"""The arbiter and the assigner on Redis, while one of each and the coordinator are killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from probe.v1 import probe_pb2
from tests.support.mesh import MeshHarness
from tests.support.redis_server import RedisServer
from tests.support.reservations import race_for
from weft.client import TaskState, connect, methods
from weft.services.assigner.v1 import assigner_pb2, assigner_pb2_grpc

CALL = "probe.v1.ProbeService/Call"
SETTINGS = {"recovery_grace_s": 1, "reconnect_grace_s": 0.5}
CALLERS = 4

pytestmark = pytest.mark.slow


async def test_racing_callers_never_overbook_and_books_survive(mesh: MeshHarness, tmp_path: Path) -> None:
    async with RedisServer(tmp_path / "redis") as redis:
        mesh.store = redis.url
        await mesh.coordinator(**SETTINGS)
        mesh.agent_env = {"WEFT_ARBITER_AMOUNTS": '{"licence": 5}'}
        await asyncio.gather(
            *(mesh.agent(name, program="", services="arbiter") for name in ("stays", "dies"))
        )
        await race_for("licence", 5, 12, mesh, dies="dies")


async def test_a_batch_is_submitted_once_though_the_assigner_dies(mesh: MeshHarness, tmp_path: Path) -> None:
    async with RedisServer(tmp_path / "redis") as redis:
        mesh.store = redis.url
        await mesh.coordinator(**SETTINGS)
        await asyncio.gather(
            mesh.agent("works"),
            *(mesh.agent(name, program="", services="assigner") for name in ("stays", "dies")),
        )
        assigning = methods(assigner_pb2_grpc.AssignerServiceStub).Assign
        items = [
            assigner_pb2.WorkItem(name=f"n{number}", method=CALL, json='{"text": "x"}') for number in range(3)
        ]
        request = assigner_pb2.AssignRequest(items=items, submit=True, batch_id="b1")
        async with connect(mesh.target) as client:
            asked = [
                asyncio.ensure_future(client.tasks.call(assigning, request, timeout_s=60))
                for _ in range(CALLERS)
            ]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            await mesh.agents["dies"].kill()
            await mesh.restart_coordinator()
            answers = [
                *await asyncio.gather(*asked),
                await client.tasks.call(assigning, request, timeout_s=60),
            ]
            (ids,) = {tuple(each.task_id for each in answer.assignments) for answer in answers}
            assert len(set(ids)) == len(items)
            ended = await client.tasks.wait(ids, timeout_s=60)
            assert {each.state for each in ended} == {TaskState.SUCCEEDED}
            for task_id in ids:
                given = probe_pb2.ProbeRequest.FromString((await client.tasks.get(task_id)).request)
                assert given.text == "x"
