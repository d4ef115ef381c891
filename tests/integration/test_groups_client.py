"""Groups by the library, with and without asyncio, and by the command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support.command import Finished, weft
from tests.support.lightweight import CALL, ECHO, LightAgent
from tests.support.mesh import MeshHarness
from weft.client import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    Mesh,
    NotFound,
    TaskState,
    Then,
    connect,
    methods,
)
from weft.client import sync as sync_client
from weft.rpc.errors import WeftError
from weft.v1 import errors_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROBE = methods(probe_pb2_grpc.ProbeServiceStub)
THEN = Then(CALL, ProbeRequest(text="then"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator(missed_heartbeats=10)
        async with LightAgent(harness.own_channel(), "a1", slots=8, methods=(ECHO, CALL)):
            await harness.wait_serving()
            yield harness


@pytest_asyncio.fixture(loop_scope="module")
async def mesh(harness: MeshHarness) -> AsyncIterator[Mesh]:
    async with connect(harness.target) as mesh:
        yield mesh


async def test_a_block_makes_closes_and_gathers(mesh: Mesh) -> None:
    async with mesh.group("block", then=THEN) as group:
        handles = [await group.submit(PROBE.Call, ProbeRequest(text=str(n))) for n in range(3)]
        async for _ in mesh.tasks.run_many(PROBE.Call, [ProbeRequest(text="x")] * 4, group="block"):
            pass
    ended = await group.wait(20)
    assert ended.counts == {TaskState.SUCCEEDED: 7}
    assert (ended.total, ended.unfinished, ended.ended, ended.then) == (7, 0, True, CALL)
    assert {task.id for task in [each async for each in group.tasks()]} >= {handle.id for handle in handles}
    texts = [ProbeReply.FromString(task.response).text async for task in group.tasks()]
    assert sorted(texts) == ["0", "1", "2", "x", "x", "x", "x"]

    async def told() -> str:
        while not (task_id := (await group.snapshot()).callback_task_id):
            await asyncio.sleep(0.02)
        return task_id

    callback = await mesh.tasks.handle(CALL, await asyncio.wait_for(told(), 20)).ended(20)
    assert callback.succeeded
    with pytest.raises(FailedPrecondition) as refused:
        await group.submit(PROBE.Call, ProbeRequest())
    assert refused.value.reason == errors_pb2.ERROR_REASON_GROUP_CLOSED
    with pytest.raises(AlreadyExists):
        await mesh.groups.create("block", then=Then(ECHO, ProbeRequest()))


async def test_a_block_that_fails_leaves_the_group_open(mesh: Mesh) -> None:
    with pytest.raises(ZeroDivisionError):
        async with mesh.group("broken", then=THEN) as group:
            await group.submit(PROBE.Call, ProbeRequest(), delay_s=1000.0)
            raise ZeroDivisionError
    assert (await group.snapshot()).closed_at is None
    with pytest.raises(DeadlineExceeded, match="it is open"):
        await group.wait(0.05)
    cancelled = await group.cancel("no use")
    assert cancelled.counts == {TaskState.CANCELLED: 1}
    assert "broken" in [each.name async for each in mesh.groups.list()]
    with pytest.raises(NotFound):
        await mesh.groups.get("none")


async def test_groups_without_asyncio(harness: MeshHarness) -> None:
    def work() -> tuple[Any, Any]:
        with sync_client.connect(harness.target) as mesh:
            with mesh.group("threads", then=THEN) as group:
                assert group.submit(PROBE.Call, ProbeRequest(text="s")).result(20).text == "s"
            ended = group.wait(20)
            with pytest.raises(WeftError), mesh.group("threads", then=THEN) as again:
                again.submit(PROBE.Call, ProbeRequest())
            return ended, [each.name for each in mesh.groups.list()]

    ended, names = await asyncio.to_thread(work)
    assert ended.counts == {TaskState.SUCCEEDED: 1}
    assert "threads" in names


@pytest.mark.slow
async def test_groups_by_the_command(harness: MeshHarness) -> None:
    async def run(*args: str) -> Finished:
        return await weft(*args, target=harness.target)

    request = '{"text": "c"}'
    done = await run("submit", CALL, request, "--group", "cli")
    assert done.status == 0, done.err
    done = await run("groups", "wait", "cli", "--close", "--json")
    assert done.status == 0, done.err
    document = done.document
    assert (document["counts"], document["unfinished"]) == ({"SUCCEEDED": 1}, 0)
    done = await run("groups", "show", "cli")
    assert "1 (1 SUCCEEDED)" in done.out
    assert "ended" in done.out
    done = await run("groups", "list")
    assert "cli" in done.out
    done = await run("tasks", "list", "--group", "cli", "--json")
    assert len(done.document) == 1
    await run("submit", CALL, request, "--group", "cli2", "--delay-s", "1000")
    done = await run("groups", "wait", "cli2", "--timeout-s", "0.1")
    assert done.status == 1
    assert "it is open" in done.err
    done = await run("groups", "cancel", "cli2", "none", "--reason", "test")
    assert done.status == 1
    assert "cli2 ended (1 CANCELLED)" in done.out
    assert "no group has the name 'none'" in done.err
    done = await run("groups", "close", "cli2")
    assert (done.status, done.out) == (0, "cli2 ended (1 CANCELLED)\n")
    done = await run("groups", "delete", "cli2")
    assert (done.status, done.out) == (0, "cli2 deleted\n")
