"""Durable streams: they carry their initial metadata, and unread responses do not accumulate, on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from mirror.v1 import mirror_pb2, mirror_pb2_grpc
from tests.support import tasks
from tests.support.mesh import MeshHarness
from tests.support.mirror import SERVICE
from tests.support.redis_server import RedisServer, redis_binary
from weft.rpc.errors import from_call
from weft.v1 import coordinator_pb2, task_pb2

Ask = mirror_pb2.Ask
MIB = 1024 * 1024
UNREAD_BYTES = 2 * MIB
PROGRESS_BYTES = 64 * MIB
HEADERS = [mirror_pb2.Entry(key="h-many", value=b"1"), mirror_pb2.Entry(key="h-bin", value=b"\x00\xff")]

needs_redis = pytest.mark.skipif(redis_binary() is None, reason="there is no redis-server")


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=["embedded", pytest.param("redis", marks=needs_redis)]
)
async def mesh(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[MeshHarness]:
    folder = tmp_path_factory.mktemp("streams")
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(MeshHarness(folder))
        if request.param == "redis":
            mesh.store = (await stack.enter_async_context(RedisServer(folder / "redis"))).url
        await mesh.coordinator(max_unread_bytes=UNREAD_BYTES, max_progress_bytes=PROGRESS_BYTES)
        await mesh.agent("plain", program="tests.support.mirror_agent:agent", slots=8, env=_label("plain"))
        await mesh.agent(
            "isolated", program="tests.support.mirror_agent:isolated", slots=2, env=_label("isolated")
        )
        await mesh.wait_serving(SERVICE)
        await mesh.close_channels()
        yield mesh


def _label(kind: str) -> dict[str, str]:
    return {"WEFT_AGENT_LABELS": f"kind={kind}"}


@pytest_asyncio.fixture
async def stub(mesh: MeshHarness) -> AsyncIterator[mirror_pb2_grpc.MirrorServiceStub]:
    large = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(mesh.target, options=large) as channel:
        yield mirror_pb2_grpc.MirrorServiceStub(channel)
    await mesh.close_channels()


@pytest.mark.parametrize("kind", ["plain", "isolated"])
async def test_initial_metadata_comes_with_the_first_response(
    mesh: MeshHarness, stub: mirror_pb2_grpc.MirrorServiceStub, kind: str
) -> None:
    ask = Ask(text="h", headers=HEADERS, answers=2, linger_s=60)
    call = stub.Down(ask, timeout=60, metadata=[("weft-require", f"kind={kind}")])
    # The call goes on meanwhile.
    first = await call.read()
    headers = [(key, value) for key, value in await call.initial_metadata()]
    assert ("h-many", "1") in headers
    assert ("h-bin", b"\x00\xff") in headers
    assert first.index == 0
    assert not call.done()
    call.cancel()


async def test_a_watcher_sees_the_initial_metadata_with_the_first_response_alone(
    mesh: MeshHarness, stub: mirror_pb2_grpc.MirrorServiceStub
) -> None:
    ask = Ask(text="w", headers=HEADERS, answers=3)
    request = coordinator_pb2.SubmitTaskRequest(method=f"{SERVICE}/Down", payload=ask.SerializeToString())
    task_id = (await mesh.api().SubmitTask(request, timeout=tasks.WAIT_S)).task.id
    watch = mesh.api().WatchTask(coordinator_pb2.WatchTaskRequest(task_id=task_id), timeout=tasks.WAIT_S)
    seen = [
        [(entry.key, entry.value) for entry in response.progress.headers]
        async for response in watch
        if response.HasField("progress")
    ]
    assert seen == [[("h-many", b"1"), ("h-bin", b"\x00\xff")], [], []]


async def test_the_handler_waits_for_a_caller_that_does_not_read(
    mesh: MeshHarness, stub: mirror_pb2_grpc.MirrorServiceStub
) -> None:
    count = 60
    ask = Ask(text="slow", answers=count, answer_bytes=MIB)
    call = stub.Down(ask, timeout=60)
    responses = aiter(call)
    assert (await anext(responses)).index == 0
    task_id = await _running(mesh)
    stored = await _settled(mesh, task_id)
    # Beside what may be unread: what the agent may send ahead, and what is on the connections, whose windows grow.
    assert stored < 45, "the handler went on"
    task = (await mesh.api().GetTask(coordinator_pb2.GetTaskRequest(task_id=task_id), timeout=10)).task
    assert task.state == task_pb2.TASK_STATE_RUNNING
    assert [answer.index async for answer in responses] == list(range(1, count))
    assert await call.code() is grpc.StatusCode.OK


async def test_a_handler_whose_caller_goes_is_told(
    mesh: MeshHarness, stub: mirror_pb2_grpc.MirrorServiceStub
) -> None:
    call = stub.Down(Ask(text="gone", answers=20, answer_bytes=MIB, linger_s=60), timeout=90)
    await call.read()
    task_id = await _running(mesh)
    await _settled(mesh, task_id)
    call.cancel()
    await mesh.eventually(
        lambda: _ended(mesh, task_id, task_pb2.TASK_STATE_CANCELLED), "the task is cancelled"
    )


@pytest.mark.slow
async def test_what_a_task_stores_has_a_bound(
    mesh: MeshHarness, stub: mirror_pb2_grpc.MirrorServiceStub
) -> None:
    call = stub.Down(Ask(text="much", answers=80, answer_bytes=MIB), timeout=60)
    received = 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in call:
            received += 1
    error = from_call(caught.value)
    assert (error.code, error.reason_name) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "PROGRESS_LIMIT")
    assert "max_progress_bytes" in error.message
    # All that was stored was delivered first.
    assert received == PROGRESS_BYTES // (MIB + 20)


async def _running(mesh: MeshHarness) -> str:
    running = coordinator_pb2.TaskFilter(states=[task_pb2.TASK_STATE_RUNNING])
    listed = await mesh.api().ListTasks(coordinator_pb2.ListTasksRequest(filter=running), timeout=10)
    streams = [task for task in listed.tasks if task.method == f"{SERVICE}/Down"]
    # A task whose caller has just left may still run.
    return max(streams, key=lambda task: task.create_time.ToNanoseconds()).id


async def _settled(mesh: MeshHarness, task_id: str) -> int:
    """The number of stored responses once it grows no more."""
    request = coordinator_pb2.GetTaskRequest(task_id=task_id)
    last, same = -1, 0
    while same < 6:
        count = (await mesh.api().GetTask(request, timeout=10)).task.progress_count
        last, same = count, same + 1 if count == last else 0
        await asyncio.sleep(0.1)
    return last


async def _ended(mesh: MeshHarness, task_id: str, state: int) -> bool:
    task = (await mesh.api().GetTask(coordinator_pb2.GetTaskRequest(task_id=task_id), timeout=10)).task
    return task.state == state
