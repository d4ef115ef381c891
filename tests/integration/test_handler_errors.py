"""Exceptions and status details of handlers, on every store: told to operators, never to callers, and the harm
that it does stays with its own task."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import code_pb2

from tests.support import tasks
from tests.support.command import weft
from tests.support.hostile import POISON, SERVICE
from tests.support.mesh import MeshHarness
from tests.support.redis_server import RedisServer
from weft.client import Method, WeftError, connect
from weft.rpc.errors import error_info, status_of_call
from weft.v1 import coordinator_pb2, task_pb2

AGENT = "tests.support.hostile:agent"
WAIT_S = 20.0
SECRET = "hunter2"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["embedded", "redis"])
async def _stored_mesh(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[MeshHarness]:
    folder = tmp_path_factory.mktemp(request.param)
    async with RedisServer(folder / "redis") as redis, MeshHarness(folder) as mesh:
        if request.param == "redis":
            mesh.store = redis.url
        await mesh.coordinator()
        await mesh.agent("h1", slots=4, program=AGENT)
        await mesh.wait_serving(SERVICE)
        await mesh.close_channels()
        yield mesh


@pytest.fixture
async def stored_mesh(_stored_mesh: MeshHarness) -> AsyncIterator[MeshHarness]:
    yield _stored_mesh
    await _stored_mesh.close_channels()


async def failure(mesh: MeshHarness, text: str, method: str = "UnaryAsync") -> grpc.aio.AioRpcError:
    """How a stock caller's durable call fails."""
    call = mesh.channel().unary_unary(f"/{SERVICE}/{method}")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(StringValue(value=text).SerializeToString(), timeout=WAIT_S)
    return failed.value


def task_id_of(error: grpc.aio.AioRpcError) -> str:
    return str(dict(error.trailing_metadata())["weft-task-id"])


@pytest.mark.parametrize("method", ["UnaryAsync", "UnarySync", "UnaryAsyncIsolated", "UnarySyncIsolated"])
async def test_operators_see_what_a_handler_raised(stored_mesh: MeshHarness, method: str) -> None:
    mesh = stored_mesh
    error = await failure(mesh, "raise ValueError", method)
    assert SECRET not in str(status_of_call(error))
    assert SECRET not in str(error.trailing_metadata())
    info = error_info(status_of_call(error))
    assert info is not None
    assert info.reason == "HANDLER_FAILED"

    api, task_id = mesh.api(), task_id_of(error)
    task = (await api.GetTask(coordinator_pb2.GetTaskRequest(task_id=task_id), timeout=5)).task
    told = task.outcome.error
    assert (told.type, told.message) == ("ValueError", SECRET)
    assert "tests/support/hostile.py" in told.stack
    events = [
        event.task.outcome.error
        async for event in api.WatchTask(coordinator_pb2.WatchTaskRequest(task_id=task_id), timeout=5)
    ]
    assert events[-1] == told
    listed = await api.ListTasks(coordinator_pb2.ListTasksRequest(page_size=1), timeout=5)
    brief = task_pb2.HandlerError(type="ValueError", message=SECRET)
    assert [(each.id, each.outcome.error) for each in listed.tasks] == [(task_id, brief)]


async def test_the_library_tells_it(stored_mesh: MeshHarness) -> None:
    method = Method.of(f"{SERVICE}/UnaryAsync", StringValue, StringValue)
    async with connect(stored_mesh.target) as mesh:
        handle = await mesh.tasks.submit(method, StringValue(value="raise ValueError"))
        with pytest.raises(WeftError) as failed:
            await handle.result(WAIT_S)
        (done,) = [
            each async for each in mesh.tasks.run_many(method, [StringValue(value="raise MemoryError")])
        ]
    error = failed.value
    assert SECRET not in str(error)
    assert error.raised is not None
    assert (error.raised.type, error.raised.message) == ("ValueError", SECRET)
    assert "in act" in error.raised.stack
    assert error.__notes__ == [f"the handler raised ValueError: {SECRET}"]
    with pytest.raises(WeftError) as failed:
        done.result()
    assert failed.value.raised is not None
    assert failed.value.raised.type == "MemoryError"


async def test_the_command_shows_it(stored_mesh: MeshHarness) -> None:
    target = stored_mesh.target
    called = await weft("call", f"{SERVICE}/UnaryAsync", '"raise ValueError"', target=target)
    assert called.status == 1
    assert SECRET not in called.out + called.err
    task_id = (await weft("tasks", "list", "--limit", "1", "--json", target=target)).document[0]["id"]
    assert f"`weft tasks get {task_id}`" in called.err

    shown = (await weft("tasks", "get", task_id, target=target)).out
    assert f"ValueError: {SECRET}" in shown
    assert "in act" not in shown
    assert "in act" in (await weft("tasks", "get", task_id, "--verbose", target=target)).out
    document = (await weft("tasks", "get", task_id, "--json", target=target)).document
    assert (document["raised"]["type"], document["raised"]["message"]) == ("ValueError", SECRET)
    assert f"ValueError: {SECRET}" in (await weft("tasks", "list", target=target)).out


async def test_a_poisoned_status_costs_its_own_task_alone(stored_mesh: MeshHarness) -> None:
    mesh = stored_mesh
    before = await tasks.agent(mesh, "h1")
    for name in POISON:
        error = await failure(mesh, f"detail {name}")
        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "rich"), name
        # As it came, for whoever can read it.
        (detail,) = status_of_call(error).details
        assert detail == POISON[name]
        get = coordinator_pb2.GetTaskRequest(task_id=task_id_of(error))
        task = (await mesh.api().GetTask(get, timeout=5)).task
        assert (task.state, task.attempt) == (task_pb2.TASK_STATE_FAILED, 1)
        assert task.outcome.status.code == code_pb2.NOT_FOUND
    after = await tasks.agent(mesh, "h1")
    assert (after.instance_id, after.connect_time) == (before.instance_id, before.connect_time)


async def test_an_agent_may_keep_it_to_itself(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("quiet", program=AGENT, env={"WEFT_AGENT_SHOW_ERRORS": "false"})
    for method in ("UnaryAsync", "UnarySyncIsolated"):
        task_id = task_id_of(await failure(mesh, "raise ValueError", method))
        task = (await mesh.api().GetTask(coordinator_pb2.GetTaskRequest(task_id=task_id), timeout=5)).task
        assert not task.outcome.HasField("error")
        assert SECRET not in str(task)
