"""The lines that handlers log, read by a task's id: from the agents that keep them, wherever these are connected."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2

from tests.support.command import weft
from tests.support.logging_agent import DOORS, SERVICE
from tests.support.mesh import MeshHarness
from weft.client import LogLine, Mesh, MissingLog, MissingLogReason, TaskHandle, connect
from weft.client.sync import connect as connect_sync
from weft.rpc.errors import NotFound

PROGRAM = "tests.support.logging_agent:agent"
T = 20


@pytest.fixture
async def client(mesh: MeshHarness) -> AsyncIterator[Mesh]:
    await mesh.coordinator(reconnect_grace_s=0.2)
    await mesh.agent("a1", program=PROGRAM)
    await mesh.wait_serving(SERVICE)
    async with connect(mesh.target) as connected:
        yield connected


async def submitted(client: Mesh, name: str, **request: Any) -> TaskHandle[bytes]:
    payload = json_format.ParseDict(request, struct_pb2.Struct()).SerializeToString()
    return await client.tasks.submit(f"{SERVICE}/{name}", payload)


async def read(client: Mesh, task_id: str) -> list[LogLine | MissingLog]:
    return [each async for each in client.tasks.logs(task_id)]


def events(found: list[LogLine | MissingLog]) -> list[str]:
    return [each.event if isinstance(each, LogLine) else each.reason.name for each in found]


async def follow_steps(handle: TaskHandle[bytes], files: Sequence[Path]) -> None:
    """Follow a task of `Steps`: each line comes when its file is there, and the stream ends with the task."""
    lines = handle.logs(follow=True)
    for number, file in enumerate(files):
        file.touch()
        line = await asyncio.wait_for(anext(lines), T)
        assert isinstance(line, LogLine)
        assert (line.event, line.fields["number"]) == ("step", str(number))
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(lines), T)


async def test_lines_of_a_task(client: Mesh, mesh: MeshHarness) -> None:
    for name, more in (
        ("Async", ["in a thread of asyncio"]),
        ("Sync", ["in an own thread"]),
        ("Isolated", []),
    ):
        handle = await submitted(client, name, text=f"hello {name}")
        await handle.ended(T)
        found = await read(client, handle.id)
        assert events(found) == [*DOORS, *more], name
        lines = [each for each in found if isinstance(each, LogLine)]
        assert {(line.attempt, line.agent_id) for line in lines} == {(1, "a1")}
        assert lines[0].fields["said"] == f"hello {name}"
        assert "S3cr3t" not in str(found)
        assert lines[3].exception.endswith(f"ValueError: redis://:[redacted]@host hello {name}")
        assert [line.level for line in lines[:4]] == ["info", "info", "warning", "error"]
    failed = await submitted(client, "Fail", text="x")
    await failed.ended(T)
    (line,) = await read(client, failed.id)
    assert isinstance(line, LogLine)
    assert (line.event, line.level) == ("handler.failed", "error")
    # A method that logs nothing, and a task that does not exist.
    silent = await submitted(client, "Steps", files=[])
    await silent.ended(T)
    assert await read(client, silent.id) == [MissingLog(1, "a1", MissingLogReason.NONE_KEPT)]
    with pytest.raises(NotFound):
        await read(client, "nothing")

    # The command, and threads.
    shown = await weft("tasks", "logs", handle.id, "--target", mesh.target)
    assert shown.status == 0
    assert [line.split()[2] for line in shown.out.splitlines() if not line.startswith("  ")][:2] == [
        "structlog",
        "logging",
    ]
    assert "said=hello Isolated" in shown.out
    assert "  ValueError: redis://:[redacted]@host" in shown.out
    shown = await weft("tasks", "logs", handle.id, "--json", "--target", mesh.target)
    assert [json.loads(line)["event"] for line in shown.out.splitlines()] == list(DOORS)
    shown = await weft("tasks", "logs", silent.id, "--target", mesh.target)
    assert (shown.status, shown.out) == (1, "")
    assert "attempt 1 on a1: lines missing: it logged nothing" in shown.err

    def in_a_thread() -> list[str]:
        with connect_sync(mesh.target) as threads:
            return events(list(threads.tasks.logs(handle.id)))

    assert await asyncio.to_thread(in_a_thread) == list(DOORS)


async def test_a_followed_task(client: Mesh, tmp_path: Path) -> None:
    """Each line comes when it is logged, and the stream ends with the task."""
    files = [tmp_path / str(number) for number in range(3)]
    handle = await submitted(client, "Steps", files=[str(file) for file in files])
    await follow_steps(handle, files)


@pytest.mark.slow
async def test_attempts_on_several_agents(client: Mesh, mesh: MeshHarness) -> None:
    """One is gone with its lines, one keeps none: both are named, and so are lines that were too many."""
    first = await submitted(client, "Again")
    gone = asyncio.create_task(_followed(client, first.id))
    await mesh.agents["a1"].wait(timeout_s=T)
    await mesh.agent("a2", program=PROGRAM, env={"WEFT_AGENT_LOG_LINES": "2"})
    await first.ended(T)
    found = await read(client, first.id)
    assert found[0] == MissingLog(1, "a1", MissingLogReason.AGENT_GONE)
    assert events(found) == ["AGENT_GONE", "begins"]
    # What was read before its agent died is known to those who followed.
    assert events(await asyncio.wait_for(gone, T))[-1] == "begins"

    many = await submitted(client, "Async", text="x")
    await many.ended(T)
    found = await read(client, many.id)
    assert found[0] == MissingLog(1, "a2", MissingLogReason.TOO_MANY, 3)
    assert events(found[1:]) == ["exception", "in a thread of asyncio"]

    assert await mesh.agents["a2"].terminate() == 0
    await mesh.agent("a3", program=PROGRAM, env={"WEFT_AGENT_LOG_LINES": "0"})
    off = await submitted(client, "Async", text="x")
    await off.ended(T)
    assert await read(client, off.id) == [MissingLog(1, "a3", MissingLogReason.OFF)]
    assert await read(client, many.id) == [MissingLog(1, "a2", MissingLogReason.AGENT_GONE)]


async def _followed(client: Mesh, task_id: str) -> list[LogLine | MissingLog]:
    return [each async for each in client.tasks.logs(task_id, follow=True)]


async def test_an_agent_of_another_coordinator(pair: tuple[MeshHarness, MeshHarness], tmp_path: Path) -> None:
    """Lines are the same at each coordinator of a Redis, and come as soon as they are logged."""
    here, there = pair
    await there.agent("a1", program=PROGRAM)
    await here.wait_serving(SERVICE)
    files = [tmp_path / "0", tmp_path / "1"]
    async with connect(here.target) as client, connect(there.target) as other:
        handle = await submitted(client, "Steps", files=[str(file) for file in files])
        await follow_steps(handle, files)
        found = await read(client, handle.id)
        assert events(found) == ["step", "step"]
        assert await read(other, handle.id) == found
        assert await there.agents["a1"].terminate() == 0
        assert await read(client, handle.id) == [MissingLog(1, "a1", MissingLogReason.AGENT_GONE)]
