"""Peers that connect and then do not read, or do not speak: bounded memory, others served, cut off in the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest
import pytest_asyncio

from probe.v1.probe_pb2 import Payload, ProbeRequest
from tests.support.lightweight import CALL, STREAM, LightAgent, never
from tests.support.mesh import MeshHarness
from tests.support.processes import until
from tests.support.refusals import check, refused
from weft.rpc.errors import status_of_call
from weft.v1 import coordinator_pb2 as api
from weft.v1 import coordinator_pb2_grpc, fleet_pb2, options_pb2, session_pb2, task_pb2
from weft.v1.session_pb2 import ConnectRequest

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
STALLED_S = 1.0
# Peers that misbehave at a time, and how much each would have to be held for it, in MiB.
PEERS = 8
UNREAD_MIB = 40
# What the coordinator may grow by: far less than PEERS * UNREAD_MIB.
GROWTH_MIB = 200
SLOWEST_S = 3.0
# Else gRPC widens the window of a busy connection, read or not: now and then, under load, to more than UNREAD_MIB.
NARROW = ("grpc.http2.bdp_probe", 0)
# Who may do what a test's own agents are to do.
LIGHT = {"role": "light"}
FOR_LIGHT = task_pb2.TaskOptions(requirements=options_pb2.Requirements(labels=LIGHT))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator(stalled_stream_s=STALLED_S)
        # In a process of its own: this one has its hands full.
        await harness.agent("good", slots=16)
        await harness.wait_serving()
        yield harness


@contextlib.asynccontextmanager
async def _watched(mesh: MeshHarness) -> AsyncIterator[None]:
    """Meanwhile others are served at once and the coordinator does not grow beyond measure."""
    assert mesh.coordinator_process is not None
    process = psutil.Process(mesh.coordinator_process.pid)
    before_mib = process.memory_info().rss / MIB
    most_mib, slowest_s = before_mib, 0.0

    async def look() -> None:
        nonlocal most_mib, slowest_s
        while True:
            began_s = time.monotonic()
            # Before the tasks of the test itself, which fill the queue.
            await mesh.probe().Echo(Payload(data=b"other"), timeout=10, metadata=[("weft-priority", "9")])
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            most_mib = max(most_mib, process.memory_info().rss / MIB)
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    yield
    assert not looking.done(), looking.exception()
    looking.cancel()
    assert most_mib - before_mib < GROWTH_MIB, f"it grew from {before_mib:.0f} to {most_mib:.0f} MiB"
    assert slowest_s < SLOWEST_S
    output = mesh.coordinator_process.output()
    assert "Traceback" not in output, output[output.index("Traceback") :]


def _stub(mesh: MeshHarness) -> coordinator_pb2_grpc.CoordinatorServiceStub:
    """The API on a connection of its own."""
    return coordinator_pb2_grpc.CoordinatorServiceStub(mesh.own_channel(NARROW))


def _cut_off(mesh: MeshHarness) -> Callable[[int], Awaitable[None]]:
    """A wait until the coordinator has given up so many more clients than by now."""
    process = mesh.coordinator_process
    assert process is not None
    before = process.output().count("stream.not_read")

    async def wait(count: int) -> None:
        def reached() -> bool:
            return process.output().count("stream.not_read") - before >= count

        await until(reached, f"{count} streams are cut off")

    return wait


async def _told(call: grpc.aio.UnaryStreamCall[Any, Any]) -> None:
    """A client that wakes up late reads what was on its way, and then that it was cut off."""
    check(await refused(call), EXHAUSTED, "OVERLOADED")


def _with_large_results(*, deliver: bool = False) -> api.SubmitTasksRequest:
    """Small tasks, each with a result of a MiB."""
    payload = ProbeRequest(reply_size_bytes=MIB).SerializeToString()
    tasks = [api.SubmitTaskRequest(method=CALL, payload=payload)] * UNREAD_MIB
    return api.SubmitTasksRequest(tasks=tasks, deliver_results=deliver)


async def _results(mesh: MeshHarness) -> list[str]:
    """Ids of tasks that have ended with large results."""
    call = mesh.api().SubmitTasks(timeout=20)
    await call.write(_with_large_results())
    await call.done_writing()
    ids = [ack.task_id async for response in call for ack in response.acks]
    async for _ in mesh.api().WaitTasks(api.WaitTasksRequest(task_ids=ids), timeout=30):
        pass
    return ids


async def _stream(agent: LightAgent, task_id: str) -> None:
    """Send the responses of a streaming task, a large one a message, and its end."""
    await agent.holds(task_id)
    for index in range(1, UNREAD_MIB + 1):
        row = session_pb2.Progress(task_id=task_id, attempt=1, index=index, payload=bytes(MIB))
        await agent.send(ConnectRequest(progress=[row]))
    result = session_pb2.AttemptResult(task_id=task_id, attempt=1, progress_count=UNREAD_MIB)
    await agent.send(ConnectRequest(results=[result]))


@pytest.mark.slow
async def test_clients_that_wait_for_tasks_and_do_not_read(mesh: MeshHarness) -> None:
    ids = await _results(mesh)
    cut_off = _cut_off(mesh)
    async with _watched(mesh):
        waits = [_stub(mesh).WaitTasks(api.WaitTasksRequest(task_ids=ids), timeout=30) for _ in range(PEERS)]
        await cut_off(PEERS)
        for wait in waits:
            await _told(wait)


@pytest.mark.slow
async def test_clients_that_submit_in_bulk_and_do_not_read(mesh: MeshHarness) -> None:
    cut_off = _cut_off(mesh)
    async with _watched(mesh):
        calls = [_stub(mesh).SubmitTasks(timeout=30) for _ in range(PEERS)]
        for call in calls:
            await call.write(_with_large_results(deliver=True))
        await cut_off(PEERS)
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                while await call.read() is not grpc.aio.EOF:
                    pass
            check(status_of_call(caught.value), EXHAUSTED, "OVERLOADED")


@pytest.mark.slow
async def test_pages_of_large_tasks_are_short(mesh: MeshHarness) -> None:
    """A page fits a message whatever its tasks hold, and no task is left out or listed twice."""
    ids = await _results(mesh)
    for view in (task_pb2.TASK_VIEW_BASIC, task_pb2.TASK_VIEW_FULL):
        listed: list[str] = []
        token = ""
        async with _watched(mesh):
            while not set(ids) <= set(listed):
                request = api.ListTasksRequest(page_size=1000, page_token=token, view=view)
                page = await mesh.api().ListTasks(request, timeout=10)
                assert page.ByteSize() < 4 * MIB
                listed += [task.id for task in page.tasks]
                token = page.next_page_token
                assert token or set(ids) <= set(listed)
        assert len(set(listed)) == len(listed)


async def test_watchers_that_do_not_read(mesh: MeshHarness) -> None:
    async with LightAgent(
        mesh.own_channel(), "streamer", labels=LIGHT, methods=(STREAM,), answer=never
    ) as agent:
        stored = await mesh.api().SubmitTask(
            api.SubmitTaskRequest(method=STREAM, options=FOR_LIGHT), timeout=5
        )
        request = api.WatchTaskRequest(task_id=stored.task.id)
        cut_off = _cut_off(mesh)
        async with _watched(mesh):
            watches = [_stub(mesh).WatchTask(request, timeout=30) for _ in range(PEERS)]
            await _stream(agent, stored.task.id)
            await cut_off(PEERS)
            for watch in watches:
                await _told(watch)
        # Whoever reads gets all of it, late or not.
        seen = [event.progress.sequence async for event in mesh.api().WatchTask(request, timeout=20)]
        assert [sequence for sequence in seen if sequence] == list(range(1, UNREAD_MIB + 1))


async def test_callers_of_a_streaming_method_that_do_not_read(mesh: MeshHarness) -> None:
    streamer = LightAgent(
        mesh.own_channel(), "streamer", labels=LIGHT, methods=(STREAM,), answer=never, slots=4
    )
    cut_off = _cut_off(mesh)
    async with _watched(mesh), streamer as agent:
        channels = [mesh.own_channel(NARROW) for _ in range(4)]
        metadata = [("weft-require", "role=light")]
        calls = [
            channel.unary_stream(f"/{STREAM}")(b"", timeout=30, metadata=metadata) for channel in channels
        ]
        await agent.assigned_to(len(calls))
        await asyncio.gather(*(_stream(agent, item.task_id) for item in agent.assigned))
        await cut_off(len(calls))
        for call in calls:
            await _told(call)


async def test_an_agent_that_does_not_read_its_session(mesh: MeshHarness) -> None:
    """It is dropped; what it was given goes to others, and what never reached it costs no attempt."""
    deaf = LightAgent(
        mesh.own_channel(NARROW), "deaf", labels=LIGHT, methods=(CALL,), slots=1000, reads=False
    )
    await deaf.open()
    payload = ProbeRequest(blob=bytes(MIB)).SerializeToString()
    async with _watched(mesh):
        ids = []
        for _ in range(UNREAD_MIB):
            request = api.SubmitTaskRequest(method=CALL, payload=payload, options=FOR_LIGHT)
            ids.append((await mesh.api().SubmitTask(request, timeout=10)).task.id)
        await mesh.wait_agent("deaf", fleet_pb2.AGENT_STATE_LOST)
    assert (await deaf.ended()) is not None
    await deaf.close(goodbye=False)
    async with LightAgent(mesh.own_channel(), "hearing", labels=LIGHT, methods=(CALL,), slots=100):
        tasks: list[task_pb2.Task] = []
        async for response in mesh.api().WaitTasks(api.WaitTasksRequest(task_ids=ids), timeout=20):
            tasks.extend(response.tasks)
    assert len(tasks) == len(ids)
    assert {task.state for task in tasks} == {task_pb2.TASK_STATE_SUCCEEDED}
    assert any(task.crashes == 0 for task in tasks)


async def test_an_agent_that_floods_and_does_not_read(mesh: MeshHarness) -> None:
    flood = LightAgent(mesh.own_channel(NARROW), "flood", labels=LIGHT, methods=(CALL,), reads=False)
    await flood.open()
    strange = [session_pb2.AttemptResult(task_id=f"{number:016x}", attempt=1) for number in range(1, 2001)]

    async def send() -> None:
        while True:
            await flood.send(ConnectRequest(results=strange))

    async with _watched(mesh):
        sending = asyncio.create_task(send())
        await mesh.wait_agent("flood", fleet_pb2.AGENT_STATE_LOST)
    # Only who reads learns that it was cut off.
    assert await flood.ended() is not None
    await asyncio.gather(sending, return_exceptions=True)
    await flood.close(goodbye=False)


async def test_sessions_that_say_nothing(mesh: MeshHarness) -> None:
    """Slow loris: they hold a stream open and never say hello."""
    async with _watched(mesh):
        channels = [mesh.own_channel() for _ in range(50)]
        calls = [
            coordinator_pb2_grpc.CoordinatorServiceStub(channel).Connect(timeout=20)
            for channel in channels
            for _ in range(4)
        ]
        for call in calls:
            check(await refused(call), grpc.StatusCode.FAILED_PRECONDITION, "SESSION_PROTOCOL")
