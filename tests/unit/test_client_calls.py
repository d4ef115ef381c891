"""The one layer of retries, waiting and watching, against a small coordinator that fails on demand."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from tests.support.task_api import TaskApi, TaskApiServer
from weft.client import Mesh, MeshClosed, Method, Progress, Task, TaskState, Unreachable, connect
from weft.client.api import backoff_s
from weft.rpc.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
    WeftError,
)
from weft.v1 import coordinator_pb2 as pb
from weft.v1 import errors_pb2, task_pb2

METHOD = "acme.v1.Echo/Echo"
STREAM = Method("acme.v1.Echo/Count", bytes, bytes, streaming=True)


@pytest.fixture
async def server() -> AsyncIterator[TaskApiServer]:
    async with TaskApiServer() as running:
        yield running


@pytest.fixture
def api(server: TaskApiServer) -> TaskApi:
    return server.api


@pytest.fixture
async def mesh(server: TaskApiServer) -> AsyncIterator[Mesh]:
    async with connect(server.target, timeout_s=5, patience_s=5) as connected:
        yield connected


# -- unary calls ------------------------------------------------------------------------------------------------------


async def test_a_momentary_error_is_tried_again_under_the_same_request_id(mesh: Mesh, api: TaskApi) -> None:
    api.unary_errors = [Unavailable("the disk is full"), Unavailable("the disk is full")]
    handle = await mesh.tasks.submit(METHOD, b"x")
    assert await handle.result(timeout_s=5) == b"x"
    assert len(api.tasks) == 1
    assert api.submitted == [handle.request_id]


async def test_retry_info_sets_the_least_wait(mesh: Mesh, api: TaskApi) -> None:
    api.unary_errors = [ResourceExhausted("the queue is full", retry_after_s=0.3)]
    began_at = time.monotonic()
    await mesh.tasks.submit(METHOD, b"x")
    assert time.monotonic() - began_at >= 0.3


@pytest.mark.parametrize(
    "error", [InvalidArgument("no", field="payload"), ResourceExhausted("too large, for ever")]
)
async def test_other_errors_are_raised_at_once(mesh: Mesh, api: TaskApi, error: WeftError) -> None:
    api.unary_errors = [error]
    with pytest.raises(type(error), match=error.message) as caught:
        await mesh.tasks.submit(METHOD, b"x")
    assert caught.value.reason == error.reason
    assert caught.value.status() == error.status()
    assert api.tasks == {}


async def test_the_deadline_ends_the_tries(mesh: Mesh, api: TaskApi) -> None:
    api.unary_errors = [Unavailable("the disk is full")] * 1000
    began_at = time.monotonic()
    with pytest.raises(Unavailable, match="the disk is full"):
        await mesh.tasks.submit(METHOD, b"x", timeout_s=0.3)
    assert time.monotonic() - began_at < 2


async def test_a_last_try_that_is_cut_off_does_not_hide_why_the_others_failed(
    mesh: Mesh, api: TaskApi
) -> None:
    api.unary_errors = [Unavailable("the disk is full")]
    api.silent = True
    with pytest.raises(Unavailable, match="the disk is full"):
        await mesh.tasks.submit(METHOD, b"x", timeout_s=1)
    with pytest.raises(DeadlineExceeded, match="did not answer in time"):
        await mesh.tasks.submit(METHOD, b"x", timeout_s=0.1)


async def test_retry_of_a_task_is_not_repeated(mesh: Mesh, api: TaskApi) -> None:
    # This coordinator does not know RetryTask at all: one refusal is enough.
    with pytest.raises(WeftError) as caught:
        await mesh.tasks.retry("t0")
    assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED


async def test_nobody_listens() -> None:
    async with connect("127.0.0.1:1", timeout_s=0.3) as mesh:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1") as caught:
            await mesh.tasks.get("t0")
        assert caught.value.target == "127.0.0.1:1"
        with pytest.raises(Unreachable):
            await mesh.ready(timeout_s=0.2)


async def test_somebody_listens_and_never_answers() -> None:
    # A bare socket, whose system accepts: an asyncio server would wait at its end for connections that nobody closes.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        async with connect(f"127.0.0.1:{port}", timeout_s=0.5) as mesh:
            with pytest.raises((Unreachable, DeadlineExceeded), match=str(port)):
                await mesh.tasks.get("t0")
            with pytest.raises(Unreachable):
                await mesh.ready(timeout_s=0.2)


def test_backoff_grows_is_bounded_and_honours_the_least_wait() -> None:
    assert [round(backoff_s(n, 1.0, None), 2) for n in (1, 2, 3, 100, 10_000)] == [0.1, 0.2, 0.4, 2.0, 2.0]
    assert backoff_s(5, 0.0, None) == 0.05
    assert backoff_s(1, 0.5, 3.0) == 3.0


async def test_a_list_goes_through_all_pages(mesh: Mesh, api: TaskApi) -> None:
    for number in range(450):
        api.store(pb.SubmitTaskRequest(method=METHOD, request_id=str(number)))
    assert len({task.id async for task in mesh.tasks.list()}) == 450
    assert len([task async for task in mesh.tasks.list(limit=201)]) == 201


# -- waiting ----------------------------------------------------------------------------------------------------------


async def test_waits_that_begin_together_share_a_stream(mesh: Mesh, api: TaskApi) -> None:
    handles = [await mesh.tasks.submit(METHOD, b"%d" % number) for number in range(50)]
    results = await asyncio.gather(*(handle.result(timeout_s=5) for handle in handles))
    assert results == [b"%d" % number for number in range(50)]
    assert len(api.wait_calls) == 1


async def test_two_waits_for_one_task(mesh: Mesh, api: TaskApi) -> None:
    api.hold.clear()
    handle = await mesh.tasks.submit(METHOD, b"x")
    waits = [asyncio.create_task(handle.result(timeout_s=5)) for _ in range(2)]
    with pytest.raises(TimeoutError, match=handle.id):
        await handle.result(timeout_s=0.1)
    assert not any(wait.done() for wait in waits), "one who gives up does not take the others along"
    api.hold.set()
    assert await asyncio.gather(*waits) == [b"x", b"x"]
    assert await handle.result(timeout_s=5) == b"x"


async def test_the_last_who_gives_up_ends_the_stream(mesh: Mesh, api: TaskApi) -> None:
    api.hold.clear()
    handle = await mesh.tasks.submit(METHOD, b"x")
    with pytest.raises(TimeoutError):
        await handle.result(timeout_s=0.2)
    assert await asyncio.wait_for(api.ended_calls.get(), 5) == "WaitTasks"
    api.hold.set()
    assert await handle.result(timeout_s=5) == b"x"


async def test_an_unknown_id_fails_alone(mesh: Mesh) -> None:
    good = await mesh.tasks.submit(METHOD, b"x")
    bad = mesh.tasks.handle(STREAM, "nobody")
    results = await asyncio.gather(good.result(timeout_s=5), bad.ended(timeout_s=5), return_exceptions=True)
    assert results[0] == b"x"
    assert isinstance(results[1], NotFound)


async def test_a_wait_goes_on_after_its_stream_broke(mesh: Mesh, api: TaskApi) -> None:
    handles = [await mesh.tasks.submit(METHOD, b"%d" % number) for number in range(20)]
    api.wait_lives = [5, 0, 7]
    ended = await mesh.tasks.wait(handles, timeout_s=10)
    assert [task.response for task in ended] == [b"%d" % number for number in range(20)]
    assert [len(ids) for ids in api.wait_calls] == [20, 15, 15, 8], "only what is missing is asked for again"


async def test_a_wait_with_a_timeout_gives_what_has_ended(mesh: Mesh, api: TaskApi) -> None:
    handle = await mesh.tasks.submit(METHOD, b"x")
    api.hold.clear()
    assert await mesh.tasks.wait([handle], timeout_s=0.2) == []


async def test_waits_end_when_the_mesh_is_closed(server: TaskApiServer) -> None:
    server.api.hold.clear()
    mesh = connect(server.target)
    handle = await mesh.tasks.submit(METHOD, b"x")
    wait = asyncio.create_task(handle.result())
    while not server.api.wait_calls:
        await asyncio.sleep(0.01)
    await mesh.close()
    with pytest.raises(MeshClosed):
        await wait


# -- watching ---------------------------------------------------------------------------------------------------------


def snapshot(state: task_pb2.TaskState, attempt: int, code: int = 0) -> pb.WatchTaskResponse:
    task = task_pb2.Task(id="t0", state=state, attempt=attempt)
    task.outcome.status.code = code
    return pb.WatchTaskResponse(task=task)


def progress(sequence: int, attempt: int = 1) -> pb.WatchTaskResponse:
    event = task_pb2.ProgressEvent(sequence=sequence, attempt=attempt, payload=b"%d" % sequence)
    return pb.WatchTaskResponse(progress=event, sequence=sequence)


RUNNING, SUCCEEDED, FAILED = (
    task_pb2.TASK_STATE_RUNNING,
    task_pb2.TASK_STATE_SUCCEEDED,
    task_pb2.TASK_STATE_FAILED,
)


async def test_a_watch_resumes_after_the_last_event(mesh: Mesh, api: TaskApi) -> None:
    api.watch_scripts = [
        [snapshot(RUNNING, 1), progress(1), progress(2)],
        [],
        # An event that was seen already is not given again.
        [snapshot(RUNNING, 1), progress(2), progress(3), snapshot(SUCCEEDED, 1)],
    ]
    events = [event async for event in mesh.tasks.watch("t0")]
    assert [event.sequence for event in events if isinstance(event, Progress)] == [1, 2, 3]
    assert isinstance(events[-1], Task)
    assert events[-1].state is TaskState.SUCCEEDED
    assert api.watch_calls == [0, 2, 2]


async def test_a_stream_gives_responses_and_raises_the_outcome(mesh: Mesh, api: TaskApi) -> None:
    api.watch_scripts = [[snapshot(RUNNING, 1), progress(1), progress(2), snapshot(FAILED, 1, code=5)]]
    got = []
    with pytest.raises(NotFound):
        async for response in mesh.tasks.handle(STREAM, "t0").stream():
            got.append(response)
    assert got == [b"1", b"2"]


async def test_a_stream_that_begins_again_is_no_continuation(mesh: Mesh, api: TaskApi) -> None:
    api.watch_scripts = [[snapshot(RUNNING, 1), progress(1), snapshot(RUNNING, 2), progress(2, attempt=2)]]
    got = []
    with pytest.raises(Unavailable) as caught:
        async for response in mesh.tasks.handle(STREAM, "t0").stream():
            got.append(response)
    assert got == [b"1"]
    assert caught.value.reason == errors_pb2.ERROR_REASON_STREAM_RESTARTED


async def test_a_stream_skips_what_an_earlier_attempt_sent(mesh: Mesh, api: TaskApi) -> None:
    api.watch_scripts = [
        [snapshot(RUNNING, 2), progress(1), progress(2), progress(3, attempt=2), snapshot(SUCCEEDED, 2)]
    ]
    assert [response async for response in mesh.tasks.handle(STREAM, "t0").stream()] == [b"3"]
