"""The guide for HTTP agents: its programs run as they stand there, one of them before a server with the routes of the old agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.mesh import MeshHarness
from tests.support.pages import run, write_files
from weft.client import TaskHandle, TaskState, connect
from weft.rpc.errors import InvalidArgument, Unknown

pytestmark = pytest.mark.slow

SUMMARIZE = "acme.v1.Text/Summarize"
WAIT_S = 30.0


class OldAgent:
    """A server with the guide's three routes, which begins anew with an empty table of tasks."""

    def __init__(self, port: int = 0) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        self.release = asyncio.Event()
        self._app = web.Application()
        self._app.add_routes([web.post("/execute", self._execute), web.get("/status/{id}", self._status)])
        self._runner = web.AppRunner(self._app, shutdown_timeout=0.1)
        self.port = port

    async def start(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _execute(self, request: web.Request) -> web.Response:
        task = await request.json()
        self.tasks.setdefault(task["task_id"], task["payload"])
        return web.json_response({"task_id": task["task_id"], "status": "accepted"}, status=202)

    async def _status(self, request: web.Request) -> web.Response:
        if (payload := self.tasks.get(request.match_info["id"])) is None:
            raise web.HTTPNotFound
        if "text" not in payload:
            return web.json_response({"status": "failed", "error": "no text"})
        if not self.release.is_set():
            return web.json_response({"status": "running"})
        return web.json_response({"status": "completed", "result": {"words": len(payload["text"].split())}})


@pytest.fixture
async def old(mesh: MeshHarness, tmp_path: Path) -> AsyncIterator[OldAgent]:
    """The guide's files in `tmp_path`, a coordinator, and an old agent."""
    assert write_files("docs/deploy/migrate-http.md", tmp_path) == []
    caller = tmp_path / "caller.py"
    await mesh.coordinator()
    caller.write_text(caller.read_text().replace("127.0.0.1:7700", mesh.target))
    made = OldAgent()
    await made.start()
    yield made
    await made.stop()


async def test_the_function_as_a_handler(mesh: MeshHarness, old: OldAgent, tmp_path: Path) -> None:
    await mesh.agent("new", program="text_agent:agent", env={"PYTHONPATH": str(tmp_path)})
    out = await asyncio.to_thread(run, tmp_path, "caller.py")
    assert out.splitlines()[-1] == "{'words': 3.0}"
    async with connect(mesh.target) as client:
        with pytest.raises(InvalidArgument, match="text is required"):
            await client.tasks.call(SUMMARIZE, b"")


async def test_a_server_that_stays(mesh: MeshHarness, old: OldAgent, tmp_path: Path) -> None:
    """Its tasks end as they end there; one that it has forgotten runs again, and is the same task."""
    env = {"PYTHONPATH": str(tmp_path), "OLD_AGENT": f"http://127.0.0.1:{old.port}"}
    await mesh.agent("beside", program="beside:agent", env=env)
    async with connect(mesh.target) as client:
        with pytest.raises(Unknown, match="no text"):
            await client.tasks.call(SUMMARIZE, b"", timeout_s=WAIT_S)
        held = await _submitted(client, "a b")
        while held.id not in old.tasks:
            await asyncio.sleep(0.01)
        await old.stop()
        again = OldAgent(old.port)
        again.release.set()
        await again.start()
        try:
            assert b"words" in await held.result(timeout_s=WAIT_S)
            assert held.id in again.tasks
            task = await client.tasks.get(held.id)
            assert task.state is TaskState.SUCCEEDED
            assert task.attempt > 1
        finally:
            await again.stop()


async def _submitted(client: Any, text: str) -> TaskHandle[bytes]:
    from google.protobuf.struct_pb2 import Struct

    request = Struct()
    request.update({"text": text})
    made: TaskHandle[bytes] = await client.tasks.submit(SUMMARIZE, request)
    return made
