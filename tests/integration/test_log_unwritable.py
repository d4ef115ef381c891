"""Coordinator and agent whose output cannot be written: they start and work on, and log again once they can."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.full_pipe import Pipe
from tests.support.mesh import MeshHarness
from weft.v1 import coordinator_pb2, task_pb2

FAILURES = 60
# Each is logged with its stack: all together are more than a pipe and an agent's queue have room for.
TEXT = "hunter2 " * 2500


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "full_disk",
        pytest.param("closed", marks=pytest.mark.slow),
        pytest.param("reader_gone", marks=pytest.mark.slow),
        pytest.param("reader_stopped", marks=pytest.mark.slow),
    ],
)
async def test_work_goes_on(mesh: MeshHarness, kind: str) -> None:
    pipe = Pipe(mesh.folder / "pipe")
    to_pipe = f"</dev/null >{pipe.path} 2>&1"
    mesh.redirect = {"full_disk": ">/dev/full 2>&1", "closed": "<&- >&- 2>&-"}.get(kind, to_pipe)
    if kind == "reader_stopped":
        pipe.fill()
    await mesh.coordinator(reconnect_grace_s=10)
    await mesh.agent("a1", slots=8)
    if kind == "reader_gone":
        pipe.close()

    await _failing_tasks_end(mesh)
    if kind == "reader_gone":
        # There is no pipe to start with any more.
        mesh.redirect = ">/dev/full 2>&1"
    await mesh.restart_coordinator()
    await mesh.wait_serving()
    assert (await mesh.probe().Call(ProbeRequest(text="again"), timeout=20)).text == "again"
    await mesh.agent("a2", labels={"new": "yes"})
    reply = await mesh.probe().Call(
        ProbeRequest(text="new"), timeout=20, metadata=[("weft-require", "new=yes")]
    )
    assert reply.agent_id == "a2"
    await _failing_tasks_end(mesh)

    if kind == "reader_stopped":
        assert await _read_until(pipe, b"log.lines_lost"), "they log again, and say what is missing"
    assert await mesh.agents["a2"].terminate() == 0
    assert mesh.coordinator_process is not None
    assert await mesh.coordinator_process.terminate() == 0


async def _failing_tasks_end(mesh: MeshHarness) -> None:
    """Handlers of each kind raise, which their agent logs: all end FAILED, and nothing is left running."""
    request = ProbeRequest(raise_text=TEXT)
    calls = [
        getattr(mesh.probe(), name)(request, timeout=30)
        for name in ("Call", "CallSync") * (FAILURES // 2) + ("CallIsolated",)
    ]
    ended = await asyncio.gather(*calls, return_exceptions=True)
    codes = {error.code() for error in ended if isinstance(error, grpc.aio.AioRpcError)}
    assert (codes, len(ended)) == ({grpc.StatusCode.UNKNOWN}, FAILURES + 1)
    unfinished = coordinator_pb2.TaskFilter(states=[task_pb2.TASK_STATE_RUNNING, task_pb2.TASK_STATE_QUEUED])
    request = coordinator_pb2.ListTasksRequest(filter=unfinished)
    assert not (await mesh.api().ListTasks(request, timeout=10)).tasks


async def _read_until(pipe: Pipe, wanted: bytes) -> bool:
    seen = b""
    for _ in range(500):
        seen += pipe.read()
        if wanted in seen:
            return True
        await asyncio.sleep(0.01)
    return False
