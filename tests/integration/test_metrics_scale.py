"""10,000 tasks over 300 methods and 500 agents: the coordinator's series stay within what docs/how-to/metrics.md says."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from contextlib import AsyncExitStack

import grpc
import grpc.aio
import pytest

from scripts import metrics_table
from tests.support import schema
from tests.support.lightweight import LightAgent, result_of
from tests.support.mesh import MeshHarness
from tests.support.scraped import Scraped, address_in, scrape
from tests.support.trace_tree import Caller
from weft.v1 import coordinator_pb2 as api
from weft.v1 import session_pb2

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

METHODS, AGENTS, TASKS = 300, 500, 10_000
NAMES = [f"t.v1.Service/Call{number}" for number in range(METHODS)]
CONTRACT = schema.file_set(
    schema.file(methods=[f"{name.partition('/')[2]} Request Response" for name in NAMES])
)
# Agents on one connection, and methods of one agent.
SHARED, HOSTED = 50, 30
# Of one message.
BATCH = 500


def answer(task: session_pb2.Assignment) -> session_pb2.AttemptResult:
    """Some fail."""
    if task.task_id.endswith("7"):
        return result_of(task, status={"code": 5})
    return result_of(task, response=b"")


async def test_series_are_bounded_by_methods(mesh: MeshHarness) -> None:
    await mesh.coordinator(metrics="127.0.0.1:0", heartbeat_interval_s=5)
    address = address_in(mesh.folder / "coordinator.log")
    async with AsyncExitStack() as agents:
        for first in range(0, AGENTS, SHARED):
            channel = mesh.own_channel()
            opened = [_agent(channel, number) for number in range(first, first + SHARED)]
            await asyncio.gather(*(agents.enter_async_context(agent) for agent in opened))
        for number, name in enumerate(NAMES):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await mesh.channel().unary_unary(f"/{name}")(b"", timeout=20)
            # Callers make no series.
            with pytest.raises(grpc.aio.AioRpcError):
                await mesh.channel().unary_unary(f"/{name}x{number}")(b"", timeout=20)
        await _run(mesh)
        first_found = await _settled(address, TASKS + METHODS)
        await _run(mesh)
        found = await _settled(address, 2 * TASKS + METHODS)
    assert found.value("weft_sessions") == AGENTS
    assert found.series == first_found.series
    bound = int(re.search(r"at most ([\d,]+)\s+series", metrics_table.PAGE.read_text())[1].replace(",", ""))  # type: ignore[index]
    assert METHODS * 50 < found.series < bound
    without_exemplars = re.sub(" # {.*", "", found.text)
    assert not re.search(r'"(agent-|tenant-|[0-9a-f]{16,}")', without_exemplars)
    times = [await _scrape_s(address) for _ in range(9)]
    print(
        f"{found.series} series, {len(found.text) / 1e6:.2f} MB, scraped in {sorted(times)[4] * 1000:.0f} ms"
    )


def _agent(channel: grpc.aio.Channel, number: int) -> LightAgent:
    hosted = [NAMES[(number * HOSTED + each) % METHODS] for each in range(HOSTED)]
    name = f"agent-{number}"
    return LightAgent(
        channel, name, slots=4, methods=hosted, contract=CONTRACT, labels={"name": name}, answer=answer
    )


async def _run(mesh: MeshHarness) -> None:
    """Tasks of all methods, each with a trace of its own."""
    call = mesh.api().SubmitTasks(timeout=120)
    ended = 0

    async def send() -> None:
        for first in range(0, TASKS, BATCH):
            tasks = [_task(number) for number in range(first, first + BATCH)]
            await call.write(api.SubmitTasksRequest(tasks=tasks, deliver_results=True))
        await call.done_writing()

    sending = asyncio.create_task(send())
    async for response in call:
        ended += len(response.finished)
    await sending
    assert ended == TASKS


def _task(number: int) -> api.SubmitTaskRequest:
    request = api.SubmitTaskRequest(method=NAMES[number % METHODS])
    request.options.context.traceparent = Caller().trace[0][1]
    request.options.fairness_key = f"tenant-{number}"
    return request


async def _settled(address: str, tasks: int) -> Scraped:
    """A scrape after the last look at the queues."""
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at:
        found = await scrape(address)
        if found.value("weft_tasks_ended_total") == tasks and not found.value("weft_queue_tasks"):
            return found
        await asyncio.sleep(0.5)
    raise AssertionError(f"{found.value('weft_tasks_ended_total')} of {tasks} tasks have ended")


async def _scrape_s(address: str) -> float:
    host, port = address.split(":")
    began_s = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /metrics HTTP/1.0\r\nAccept: application/openmetrics-text\r\n\r\n")
    while await reader.read(1 << 20):
        pass
    writer.close()
    return time.perf_counter() - began_s
