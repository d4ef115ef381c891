"""Hooks of an agent in a process of its own: their order, and their errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2

from examples.prices.agent import TOTAL
from tests.support.hooked_agent import ECHO
from tests.support.mesh import MeshHarness
from tests.support.processes import Process, until
from weft.agent import Agent, HostingError, current_task
from weft.agent.hooks import BACKGROUND_GRACE_S, STOP_TIMEOUT_S
from weft.client import Method, connect
from weft.client.sync import SyncMesh, WrongThread
from weft.testing import mesh_of

PROGRAM = "tests.support.hooked_agent:agent"


class Hooked:
    """The agent's process, and what its functions have noted."""

    def __init__(self, mesh: MeshHarness, process: Process, ledger: Path) -> None:
        self.mesh = mesh
        self.process = process
        self._ledger = ledger

    @property
    def lines(self) -> list[str]:
        return self._ledger.read_text().splitlines() if self._ledger.exists() else []

    async def until(self, line: str) -> None:
        await until(lambda: line in self.lines, f"{line!r} is noted")

    async def end(self) -> float:
        """Tell it to end; how long that took."""
        began_at = time.monotonic()
        assert await self.process.terminate() == 0
        return time.monotonic() - began_at


async def hooked(mesh: MeshHarness, folder: Path, fault: str = "", *, wait: bool = True) -> Hooked:
    ledger = folder / "hooks"
    env = {"HOOKS_LEDGER": str(ledger), "HOOKS_FAULT": fault}
    process = await mesh.agent("a1", program=PROGRAM, env=env, wait=wait)
    return Hooked(mesh, process, ledger)


async def test_their_order(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()
    made = await hooked(mesh, tmp_path)
    await made.until("asked the mesh")
    assert made.lines[:2] == ["first; connected: False", "second; in a thread: True"]

    request = json_format.ParseDict({"sleep_s": 0.5}, struct_pb2.Struct()).SerializeToString()
    running = asyncio.ensure_future(mesh.channel().unary_unary(f"/{ECHO}")(request, timeout=20))
    await made.until("call")
    await made.end()
    assert await running == request
    ends = made.lines[made.lines.index("call ends") :]
    assert sorted(ends[1:3]) == ["poll ends", "refresh ends"]
    assert ends[3:] == ["close last", "close first"]


async def test_a_start_that_fails_ends_the_agent(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()
    made = await hooked(mesh, tmp_path, "start raises", wait=False)
    assert await made.process.wait() != 0
    assert made.lines == ["first; connected: False"]
    assert "the on_start function first raised ValueError: no database here" in made.process.output()
    assert await mesh.agent_states() == {}


async def test_a_stop_during_the_start(mesh: MeshHarness, tmp_path: Path) -> None:
    await mesh.coordinator()
    made = await hooked(mesh, tmp_path, "start hangs", wait=False)
    await made.until("first; connected: False")
    assert await made.end() < 5
    assert made.lines == ["first; connected: False"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "told", "most_s"),
    [
        ("background raises", '"hook.failed", "hook": "background function refresh"', 0.0),
        ("background stays", '"hook.not_ended", "hook": "background function poll"', BACKGROUND_GRACE_S),
        ("stop raises", '"hook.failed", "hook": "on_stop function close_last"', 0.0),
        ("stop hangs", '"hook.not_ended", "hook": "on_stop function close_first"', STOP_TIMEOUT_S),
    ],
)
async def test_what_goes_wrong_is_told_and_ends(
    mesh: MeshHarness, tmp_path: Path, fault: str, told: str, most_s: float
) -> None:
    await mesh.coordinator()
    made = await hooked(mesh, tmp_path, fault)
    await made.until("refresh")
    assert await made.end() < most_s + 10
    assert told in made.process.output()
    assert made.lines[-2:] == ["close last", "close first"]


async def test_the_example(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("prices", program="examples.prices.agent:agent")
    async with connect(mesh.target) as client:
        method = Method.of(TOTAL, struct_pb2.Struct, struct_pb2.Struct)
        asked = json_format.ParseDict({"names": ["apple", "pear"]}, struct_pb2.Struct())
        handle = await client.tasks.submit(method, asked)
        assert (await handle.result(timeout_s=20))["total"] == 2.5


def test_functions_that_cannot_be_called() -> None:
    agent = Agent("a1")

    def takes_one(_one: object) -> None: ...

    def takes_two(_one: object, _two: object) -> None: ...

    async def async_takes_one(_one: object) -> None: ...

    def yields():
        yield

    agent.background(takes_one)
    for add, function in [
        (agent.on_start, takes_one),
        (agent.on_stop, takes_one),
        (agent.background, takes_two),
        (agent.background, async_takes_one),
        (agent.on_start, yields),
    ]:
        with pytest.raises(HostingError, match=function.__name__):
            add(function)
    with pytest.raises(HostingError, match="does not run"):
        assert agent.mesh


async def test_the_blocking_client_is_for_threads() -> None:
    """On the agent's event loop, where it would wait for itself, it says so."""
    agent = Agent("looped")

    def used_in(place: str, client: Callable[[], SyncMesh]) -> None:
        try:
            found = [each.id for each in client().fleet.agents()]
        except WrongThread as error:
            said[place] = error.message
        else:
            said[place] = found

    said: dict[str, Any] = {}

    @agent.on_start
    async def start() -> None:
        used_in("async hook", lambda: agent.sync_mesh)

    @agent.method("looped.v1.Looped/Async")
    async def in_loop(request: dict[str, Any]) -> dict[str, Any]:
        used_in("async handler", lambda: current_task().sync_mesh)
        return request

    @agent.method("looped.v1.Looped/Sync")
    def in_thread(request: dict[str, Any]) -> dict[str, Any]:
        used_in("handler", lambda: current_task().sync_mesh)
        return request

    async with mesh_of(agent) as mesh:
        await in_loop.call(mesh, {})
        await in_thread.call(mesh, {})
    assert said.pop("handler") == ["looped"]
    assert said.keys() == {"async hook", "async handler"}
    assert all("has `mesh`" in text for text in said.values()), said
