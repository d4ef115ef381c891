"""The client library on a real coordinator and real agents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.mesh import MeshHarness
from weft.client import (
    DesiredState,
    Mesh,
    Method,
    Progress,
    RetryPolicy,
    Task,
    TaskState,
    Unreachable,
    call_options,
    connect,
    methods,
)
from weft.rpc.errors import AlreadyExists, Cancelled, FailedPrecondition, NotFound, WeftError
from weft.v1 import errors_pb2

PROBE = methods(probe_pb2_grpc.ProbeServiceStub)
CALL = Method.of("probe.v1.ProbeService/Call", probe_pb2.ProbeRequest, probe_pb2.ProbeReply)
ECHO = Method.of("probe.v1.ProbeService/Echo", probe_pb2.Payload, probe_pb2.Payload)


@pytest.fixture
async def client(shared_mesh: MeshHarness) -> AsyncIterator[Mesh]:
    async with connect(shared_mesh.target) as connected:
        yield connected


@pytest.fixture
async def own_client(running_mesh: MeshHarness) -> AsyncIterator[Mesh]:
    """For tests that kill the coordinator."""
    async with connect(running_mesh.target) as connected:
        yield connected


def request(**fields: object) -> probe_pb2.ProbeRequest:
    return probe_pb2.ProbeRequest(**fields)


async def test_a_stub_on_the_channel_with_call_options(client: Mesh) -> None:
    stub = probe_pb2_grpc.ProbeServiceStub(client.channel())
    call = stub.Call(
        request(text="hi"),
        timeout=20,
        metadata=call_options(request_id="r1", priority=8, metadata=[("x-tenant", "acme")]),
    )
    reply = await call
    assert "x-tenant=acme" in reply.metadata
    task = await client.tasks.get(dict(await call.trailing_metadata())["weft-task-id"])
    assert (task.request_id, task.priority, task.state) == ("r1", 8, TaskState.SUCCEEDED)

    detached = stub.Call(request(text="later"), timeout=20, metadata=call_options(detach=True))
    assert await detached == probe_pb2.ProbeReply()
    handle = client.tasks.handle(CALL, dict(await detached.trailing_metadata())["weft-task-id"])
    assert (await handle.result(timeout_s=20)).text == "later"


async def test_submit_and_result(client: Mesh) -> None:
    handle = await client.tasks.submit(
        CALL, request(text="hi"), priority=7, metadata=[("x-tenant", "acme")], result_ttl_s=60
    )
    reply = await handle.result(timeout_s=20)
    assert reply.text == "hi"
    assert "x-tenant=acme" in reply.metadata
    task = await handle.snapshot()
    assert (task.state, task.attempt, task.agent_id, task.priority) == (TaskState.SUCCEEDED, 1, "a1", 7)
    assert task.created_at is not None
    assert task.finished_at is not None
    assert task.created_at <= task.finished_at

    raw = await client.tasks.submit("probe.v1.ProbeService/Echo", probe_pb2.Payload(data=b"abc"))
    assert probe_pb2.Payload.FromString(await raw.result(timeout_s=20)).data == b"abc"

    stub = probe_pb2_grpc.ProbeServiceStub(client.channel())
    typed = await client.tasks.submit(stub.Echo, probe_pb2.Payload(data=b"abc"))
    assert (await typed.result(timeout_s=20)).data == b"abc"


async def test_the_outcome_of_a_failure_is_raised(client: Mesh) -> None:
    failing = request(text="x", fail_code=5, fail_message="no such paper", fail_reason="PAPER_GONE")
    handle = await client.tasks.submit(PROBE.Call, failing)
    with pytest.raises(NotFound, match="no such paper") as caught:
        await handle.result(timeout_s=20)
    assert caught.value.reason == errors_pb2.ERROR_REASON_UNSPECIFIED, "the handler's, not weft's"
    assert caught.value.status().details[0].type_url.endswith("google.rpc.ErrorInfo")


async def test_retry_policy_and_manual_retry(client: Mesh) -> None:
    policy = RetryPolicy(max_attempts=3, initial_backoff_s=0.01, retryable_codes=[grpc.StatusCode.ABORTED])
    handle = await client.tasks.submit(
        CALL, request(text="flaky", fail_code=10, fail_attempts=2), retry=policy
    )
    assert (await handle.result(timeout_s=20)).attempt == 3

    handle = await client.tasks.submit(CALL, request(text="once", fail_code=10, fail_attempts=1))
    with pytest.raises(WeftError):
        await handle.result(timeout_s=20)
    assert (await handle.retry()).state is not TaskState.FAILED
    assert (await handle.result(timeout_s=20)).attempt == 2
    with pytest.raises(FailedPrecondition):
        await handle.retry()


async def test_time_limits_delay_and_labels(client: Mesh) -> None:
    slow = await client.tasks.submit(CALL, request(text="slow", sleep_s=30), start_to_close_s=0.3)
    late = await client.tasks.submit(
        CALL, request(text="late"), require_labels={"zone": "moon"}, schedule_to_start_s=0.3
    )
    for handle in (slow, late):
        with pytest.raises(WeftError) as caught:
            await handle.result(timeout_s=20)
        assert caught.value.reason == errors_pb2.ERROR_REASON_TIME_LIMIT
    delayed = await client.tasks.submit(CALL, request(text="delayed"), delay_s=0.5)
    assert await delayed.state() is TaskState.SCHEDULED
    ended = await delayed.ended(timeout_s=20)
    assert ended.created_at is not None
    assert ended.started_at is not None
    assert (ended.started_at - ended.created_at).total_seconds() >= 0.5


async def test_cancel(shared_mesh: MeshHarness, client: Mesh) -> None:
    ledger = shared_mesh.ledger()
    handle = await client.tasks.submit(CALL, request(text="stop", sleep_s=30, ledger=ledger.path))
    await ledger.until("start", "stop")
    await handle.cancel("not wanted any more", grace_s=3)
    with pytest.raises(Cancelled) as caught:
        await handle.result(timeout_s=20)
    assert caught.value.metadata.get("reason") == "not wanted any more"
    await ledger.until("cancelled", "stop")


async def test_a_request_id_is_one_task(client: Mesh) -> None:
    first = await client.tasks.submit(CALL, request(text="one"), request_id="r")
    again = await client.tasks.submit(CALL, request(text="one"), request_id="r")
    assert (first.existed, again.existed, again.id) == (False, True, first.id)
    with pytest.raises(AlreadyExists):
        await client.tasks.submit(CALL, request(text="two"), request_id="r")


async def test_a_result_that_was_dropped_is_no_empty_answer(shared_mesh: MeshHarness, client: Mesh) -> None:
    """The request id is remembered longer than the result is kept."""
    handle = await client.tasks.submit(CALL, request(text="short"), request_id="short", result_ttl_s=1)
    await handle.ended(timeout_s=20)

    async def dropped() -> bool:
        return not (await handle.snapshot()).response

    await shared_mesh.eventually(dropped, "the result is dropped")
    with pytest.raises(NotFound) as caught:
        await handle.result(timeout_s=20)
    assert caught.value.reason == errors_pb2.ERROR_REASON_RESULT_EXPIRED
    again = client.tasks.run_many(CALL, [request(text="short")], request_id=lambda _: "short")
    errors = [done.error() async for done in again]
    assert [error.reason for error in errors if error] == [errors_pb2.ERROR_REASON_RESULT_EXPIRED]


async def test_streams_and_watching(client: Mesh) -> None:
    handle = await client.tasks.submit(PROBE.Stream, request(text="s", stream_count=4))
    assert [reply.index async for reply in handle.stream()] == [1, 2, 3, 4]
    events = [event async for event in handle.watch(after_sequence=2)]
    assert [event.sequence for event in events if isinstance(event, Progress)] == [3, 4]
    assert isinstance(events[-1], Task)
    assert events[-1].state is TaskState.SUCCEEDED
    with pytest.raises(TypeError, match="stream"):
        await handle.result(timeout_s=20)


async def test_list_and_wait(client: Mesh) -> None:
    handles = [
        handle async for handle in client.tasks.submit_many(CALL, (request(text=str(n)) for n in range(450)))
    ]
    ended = await client.tasks.wait(handles, timeout_s=60)
    assert [task.id for task in ended] == [handle.id for handle in handles]
    began_at = min(task.created_at for task in ended if task.created_at) - timedelta(milliseconds=1)
    listed = client.tasks.list(states=[TaskState.SUCCEEDED], method=CALL.name, created_from=began_at)
    assert sorted([task.id async for task in listed]) == sorted(handle.id for handle in handles)
    assert len([task async for task in client.tasks.list(limit=7)]) == 7
    held = await client.tasks.submit(CALL, request(text="held"), delay_s=3600)
    assert await client.tasks.wait([held, handles[0]], timeout_s=0.3) == [ended[0]]
    with pytest.raises(NotFound):
        await client.tasks.wait(["no-such-task"], timeout_s=5)


async def test_fleet(client: Mesh) -> None:
    agents = {agent.id: agent for agent in await client.fleet.agents()}
    assert agents["a1"].slots == 8
    assert CALL.name in agents["a1"].methods
    assert (await client.fleet.set_state("a1", DesiredState.PAUSED)).desired_state is DesiredState.PAUSED
    assert (await client.fleet.agent("a1")).desired_state is DesiredState.PAUSED
    await client.fleet.set_state("a1", DesiredState.ACTIVE)
    with pytest.raises(NotFound):
        await client.fleet.agent("nobody")

    assert [queue.paused for queue in await client.fleet.pause(CALL.name)] == [True]
    held = await client.tasks.submit(CALL, request(text="held"))
    with pytest.raises(TimeoutError):
        await held.result(timeout_s=0.3)
    queues = {queue.method: queue for queue in await client.fleet.queues()}
    assert (queues[CALL.name].queued, queues[CALL.name].paused) == (1, True)
    await client.fleet.resume(CALL.name)
    assert (await held.result(timeout_s=20)).text == "held"


@pytest.mark.slow
async def test_many_tasks_survive_a_killed_coordinator(running_mesh: MeshHarness, own_client: Mesh) -> None:
    """Nothing is lost and nothing comes twice, although the stream breaks in the middle."""
    sent = [probe_pb2.Payload(data=b"%d" % number) for number in range(8_000)]
    got: dict[int, bytes] = {}
    async for done in own_client.tasks.run_many(ECHO, sent, window=1000):
        assert done.index not in got
        got[done.index] = done.result().data
        if len(got) in {2000, 5000}:
            await running_mesh.restart_coordinator()
    assert got == {index: payload.data for index, payload in enumerate(sent)}
    stored = [task async for task in own_client.tasks.list(method=ECHO.name)]
    assert len(stored) == len(sent), "the same request ids: nothing is stored twice"


async def test_results_and_watchers_wait_out_a_restart(running_mesh: MeshHarness, own_client: Mesh) -> None:
    ledger = running_mesh.ledger()
    slow = request(text="slow", sleep_s=1.5, ledger=ledger.path)
    handle = await own_client.tasks.submit(CALL, slow)
    stream = await own_client.tasks.submit(PROBE.Stream, request(text="s", stream_count=10, sleep_s=0.2))

    async def watched() -> list[int]:
        return [event.sequence async for event in stream.watch() if isinstance(event, Progress)]

    waiting = asyncio.gather(handle.result(timeout_s=60), watched())
    await ledger.until("start", "slow")
    await running_mesh.restart_coordinator()
    reply, sequences = await waiting
    assert (reply.text, reply.attempt) == ("slow", 1)
    assert sequences == list(range(1, 11))


async def test_a_coordinator_that_is_away_too_long(running_mesh: MeshHarness) -> None:
    async with connect(running_mesh.target, timeout_s=0.5, patience_s=0.5) as client:
        handle = await client.tasks.submit(CALL, request(text="x", sleep_s=30))
        assert running_mesh.coordinator_process is not None
        await running_mesh.coordinator_process.kill()
        with pytest.raises(Unreachable, match=running_mesh.target):
            await client.tasks.get(handle.id)
        with pytest.raises(Unreachable, match=running_mesh.target):
            await handle.result()


async def test_a_request_that_cannot_be_sent_ends_a_bulk(client: Mesh) -> None:
    """After what came before it; it does not wait for ever."""

    def refuse(_payload: probe_pb2.Payload) -> str:
        raise ValueError("no id")

    for requests, request_id in (([probe_pb2.Payload(), 7], None), ([probe_pb2.Payload()], refuse)):
        seen = []
        with pytest.raises((TypeError, ValueError)):
            async for done in client.tasks.run_many(ECHO, requests, request_id=request_id):
                seen.append(done.result())
        assert len(seen) == len(requests) - 1
