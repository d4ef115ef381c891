"""Streaming methods as tasks: watchers resume where they were, callers never see a stream begin again unawares."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

from probe.v1.probe_pb2 import ProbeReply, ProbeRequest
from tests.support import tasks
from tests.support.mesh import MeshHarness
from weft.rpc.errors import WeftError, from_call
from weft.v1 import coordinator_pb2, options_pb2, task_pb2


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
async def test_a_stream_goes_on_over_a_restart_of_the_coordinator(
    shared_mesh: MeshHarness, graceful: bool
) -> None:
    mesh, ledger = shared_mesh, shared_mesh.ledger(f"graceful-{graceful}")
    coordinator = mesh.coordinator_process
    assert coordinator is not None
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


@pytest.mark.slow
async def test_a_new_attempt_never_continues_a_callers_stream_silently(mesh: MeshHarness) -> None:
    """Three callers when their agent is killed: one can come back, one cannot, one has got nothing yet."""
    await mesh.coordinator(reconnect_grace_s=0.2)
    victim = await mesh.agent("a1", slots=4, program=tasks.PLAIN)
    ledger = mesh.ledger()
    request = ProbeRequest(text="named", stream_count=10, sleep_s=0.1, ledger=ledger.path)
    metadata = (("weft-request-id", "stream-1"),)
    named = mesh.probe().Stream(request, metadata=metadata, timeout=60)
    nameless = mesh.probe().Stream(
        ProbeRequest(text="nameless", stream_count=200, sleep_s=0.1, ledger=ledger.path), timeout=60
    )
    slow = mesh.probe().Stream(
        ProbeRequest(text="slow", stream_count=2, sleep_s=3.0, ledger=ledger.path), timeout=60
    )
    first_of_slow = asyncio.create_task(slow.read())
    await ledger.until("start", "slow")
    for call in (named, nameless):
        assert [(await call.read()).index for _ in range(2)] == [1, 2]

    await victim.kill()
    await mesh.agent("a2", slots=4, program=tasks.PLAIN)

    # Part of a stream was passed on: the caller is told, whether it can come back ...
    errors = {name: await restarted(call) for name, call in (("named", named), ("nameless", nameless))}
    # ... with its request id, to follow the new attempt from its beginning ...
    replies = [reply async for reply in mesh.probe().Stream(request, metadata=metadata, timeout=30)]
    assert [reply.index for reply in replies] == list(range(1, 11))
    assert {reply.attempt for reply in replies} == {2}
    # ... or cannot: then there is nobody to run it for.
    task = await tasks.end(mesh, errors["nameless"].metadata["task_id"])
    assert task.state == task_pb2.TASK_STATE_CANCELLED, tasks.describe(task)
    # Nothing was passed on: the caller need not know.
    first = await first_of_slow
    assert (first.index, first.attempt) == (1, 2)
    assert (await slow.read()).index == 2
    assert await slow.read() is grpc.aio.EOF
    assert [fact.agent_id for fact in ledger.facts("start", "named")] == ["a1", "a2"]
    # A watcher sees the attempt's number grow.
    events, _ = await watch(mesh, errors["named"].metadata["task_id"])
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.attempt for event in events] == sorted(event.attempt for event in events)
    assert [event.attempt for event in events].count(2) == 10


async def restarted(call: grpc.aio.UnaryStreamCall[ProbeRequest, ProbeReply]) -> WeftError:
    """What a call ends with whose attempt was lost."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        while await call.read() is not grpc.aio.EOF:
            pass
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    error = from_call(failed.value)
    assert error.reason_name == "STREAM_RESTARTED"
    return error


async def test_a_stream_that_is_handed_over_begins_again_openly(mesh: MeshHarness) -> None:
    """A hand-back costs no attempt, yet its responses and those of the next attempt are not mixed."""
    await mesh.coordinator()
    leaving = await mesh.agent("a1", slots=1, drain_grace_s=0.1, program=tasks.PLAIN)
    request = ProbeRequest(text="s", stream_count=30, sleep_s=0.1)
    options = task_pb2.TaskOptions(retry=options_pb2.RetryPolicy(max_attempts=1, max_crashes=0))
    task_id = await tasks.submit(mesh, request, "Stream", options)
    first, _ = await watch(mesh, task_id, until=3)

    _, status = await asyncio.gather(mesh.agent("a2", slots=1, program=tasks.PLAIN), leaving.terminate())
    assert status == 0

    rest, task = await watch(mesh, task_id, after=3)
    assert task is not None
    assert (task.state, task.crashes) == (task_pb2.TASK_STATE_SUCCEEDED, 0), tasks.describe(task)
    events = first + rest
    newest = [event for event in events if event.attempt == task.attempt]
    assert events[0].attempt < task.attempt
    assert indexes(newest) == list(range(1, 31))
