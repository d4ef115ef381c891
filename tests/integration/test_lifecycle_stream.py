"""Streaming methods as tasks: watchers resume where they were, callers never see a stream begin again unawares."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support import tasks
from tests.support.mesh import MeshHarness
from weft.rpc.errors import from_call
from weft.v1 import coordinator_pb2, task_pb2


async def watch(
    mesh: MeshHarness, task_id: str, after: int = 0, until: int | None = None
) -> tuple[list[task_pb2.ProgressEvent], task_pb2.Task | None]:
    """Progress after a cursor, up to the sequence `until` or the end, and the task if it was seen to end."""
    request = coordinator_pb2.WatchTaskRequest(task_id=task_id, after_sequence=after)
    call = mesh.api().WatchTask(request, timeout=tasks.WAIT_S, wait_for_ready=True)
    events = []
    async for response in call:
        if response.HasField("progress"):
            events.append(response.progress)
            if response.progress.sequence == until:
                call.cancel()
                return events, None
        elif response.task.state >= task_pb2.TASK_STATE_SUCCEEDED:
            return events, response.task
    raise AssertionError("the stream ended before the task")


def indexes(events: list[task_pb2.ProgressEvent]) -> list[int]:
    return [ProbeReply.FromString(event.payload).index for event in events]


async def test_a_watcher_resumes_from_its_cursor(shared_mesh: MeshHarness) -> None:
    mesh = shared_mesh
    request = ProbeRequest(text="s", stream_count=20, sleep_s=0.02)
    task_id = await tasks.submit(mesh, request, "Stream")

    first, _ = await watch(mesh, task_id, until=7)
    rest, task = await watch(mesh, task_id, after=7)
    assert task is not None
    assert task.state == task_pb2.TASK_STATE_SUCCEEDED
    assert task.progress_count == 20
    assert [event.sequence for event in first + rest] == list(range(1, 21))
    assert indexes(first + rest) == list(range(1, 21))
    # And after its end, from the store.
    again, task = await watch(mesh, task_id, after=15)
    assert task is not None
    assert indexes(again) == [16, 17, 18, 19, 20]


@pytest.mark.parametrize("graceful", [True, False], ids=["stopped", "killed"])
async def test_a_stream_goes_on_over_a_restart_of_the_coordinator(mesh: MeshHarness, graceful: bool) -> None:
    coordinator = await mesh.coordinator()
    await mesh.agent("a1", slots=1)
    ledger = mesh.ledger()
    request = ProbeRequest(text="s", stream_count=40, sleep_s=0.05, ledger=ledger.path)
    task_id = await tasks.submit(mesh, request, "Stream")
    first, _ = await watch(mesh, task_id, until=10)

    await (coordinator.terminate() if graceful else coordinator.kill())
    await mesh.restart_coordinator()

    rest, task = await watch(mesh, task_id, after=10)
    assert task is not None
    assert task.state == task_pb2.TASK_STATE_SUCCEEDED, tasks.describe(task)
    assert [event.sequence for event in first + rest] == list(range(1, 41))
    assert indexes(first + rest) == list(range(1, 41))
    assert len(ledger.facts("start", "s")) == 1


async def test_a_caller_gets_the_whole_stream_and_the_trailers(shared_mesh: MeshHarness) -> None:
    call = shared_mesh.probe().Stream(ProbeRequest(text="s", stream_count=30), timeout=10)
    assert [reply.index async for reply in call] == list(range(1, 31))
    trailers = dict(await call.trailing_metadata())
    assert trailers["weft-agent"] == "a1"
    assert trailers["weft-attempt"] == "1"

    call = shared_mesh.probe().Stream(
        ProbeRequest(text="s", stream_count=2, fail_code=9, fail_message="half way"), timeout=10
    )
    assert [(await call.read()).index for _ in range(2)] == [1, 2]
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call.read()
    assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert failed.value.details() == "half way"


async def test_a_new_attempt_never_continues_a_callers_stream_silently(mesh: MeshHarness) -> None:
    await mesh.coordinator(reconnect_grace_s=0.2)
    victim = await mesh.agent("a1", slots=1)
    ledger = mesh.ledger()
    request = ProbeRequest(text="s", stream_count=10, sleep_s=0.1, ledger=ledger.path)
    metadata = (("weft-request-id", "stream-1"),)
    call = mesh.probe().Stream(request, metadata=metadata, timeout=30)
    assert [(await call.read()).index for _ in range(2)] == [1, 2]

    await victim.kill()
    await mesh.agent("a2", slots=1)
    with pytest.raises(grpc.aio.AioRpcError) as restarted:
        while await call.read() is not grpc.aio.EOF:
            pass
    assert restarted.value.code() is grpc.StatusCode.UNAVAILABLE
    error = from_call(restarted.value)
    assert error.reason_name == "STREAM_RESTARTED"

    # With its request id the caller follows the new attempt, from its beginning.
    again = mesh.probe().Stream(request, metadata=metadata, timeout=30)
    replies = [reply async for reply in again]
    assert [reply.index for reply in replies] == list(range(1, 11))
    assert {reply.attempt for reply in replies} == {2}
    assert [fact.agent_id for fact in ledger.facts("start", "s")] == ["a1", "a2"]
    # A watcher is told by the attempt's number.
    events, _ = await watch(mesh, error.metadata["task_id"])
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.attempt for event in events] == sorted(event.attempt for event in events)
    assert [event.attempt for event in events].count(2) == 10


async def test_a_stream_that_nobody_can_come_back_for_is_cancelled(mesh: MeshHarness) -> None:
    """Without a request id the caller cannot follow the new attempt, so there is none."""
    await mesh.coordinator(reconnect_grace_s=0.2)
    victim = await mesh.agent("a1", slots=1)
    call = mesh.probe().Stream(ProbeRequest(text="s", stream_count=100, sleep_s=0.1), timeout=30)
    task_id = (await call.read()).task_id

    await victim.kill()
    await mesh.agent("a2", slots=1)
    with pytest.raises(grpc.aio.AioRpcError):
        while await call.read() is not grpc.aio.EOF:
            pass

    task = await tasks.end(mesh, task_id)
    assert task.state == task_pb2.TASK_STATE_CANCELLED, tasks.describe(task)


async def test_a_caller_that_got_nothing_yet_does_not_notice_a_new_attempt(mesh: MeshHarness) -> None:
    await mesh.coordinator(reconnect_grace_s=0.2)
    victim = await mesh.agent("a1", slots=1)
    ledger = mesh.ledger()
    request = ProbeRequest(text="s", stream_count=2, sleep_s=1.0, ledger=ledger.path)
    call = mesh.probe().Stream(request, timeout=30)
    reading = asyncio.create_task(call.read())
    await ledger.until("start", "s")

    await victim.kill()
    await mesh.agent("a2", slots=1)

    first = await reading
    assert (first.index, first.attempt) == (1, 2)
    assert (await call.read()).index == 2
    assert await call.read() is grpc.aio.EOF
