"""Agents and coordinators as process 1 of a container, here of a PID namespace: they wait for orphans and heed signals."""

from __future__ import annotations

import asyncio
import functools
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from tests.support.mesh import MeshHarness
from tests.support.processes import Process, until
from weft.v1 import fleet_pb2

UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
WEFT = (sys.executable, "-m", "weft.cli.main")
PROGRAM = "tests.support.orphaning_agent:agent"


@functools.cache
def _refused() -> str:
    """Why there are no namespaces here; empty: there are."""
    if shutil.which("unshare") is None:
        return "there is no `unshare` here"
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, check=False, timeout=20)
    return "" if done.returncode == 0 else f"unshare: {done.stderr.decode().strip()}"


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    if _refused():
        pytest.skip(f"process 1 needs a PID namespace of its own: {_refused()}")


def first(name: str, folder: Path, *args: str) -> Process:
    return Process(name, [*UNSHARE, *WEFT, *args], log=folder / f"{name}.log")


def inside(process: Process) -> list[psutil.Process]:
    """The processes of the namespace, the first one first."""
    return psutil.Process(process.pid).children(recursive=True)


async def call(mesh: MeshHarness, name: str, value: str) -> str:
    request = StringValue(value=value).SerializeToString()
    answer = await mesh.channel().unary_unary(f"/orphan.v1.Orphan/{name}")(request, timeout=30)
    return StringValue.FromString(answer).value


@pytest.mark.slow
async def test_an_agent_waits_for_orphans_and_drains(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    flags = ["--target", mesh.target, "--id", "a1"]
    agent = mesh.agents["a1"] = first("a1", mesh.folder, "agent", PROGRAM, *flags)
    await mesh.wait_agent("a1", instance_of=agent)
    await mesh.wait_serving("orphan.v1.Orphan")
    # Each leaves ten orphans behind, and has children of its own, whose statuses must come to it.
    for name in ("Sync", "Async", "Isolated"):
        assert await call(mesh, name, "10") == "7", name

    def orphans() -> list[psutil.Process]:
        # The command itself is the one that stays.
        return inside(agent)[0].children()[1:]

    await until(lambda: not orphans(), "the orphans have been waited for")
    slow = asyncio.create_task(call(mesh, "Slow", "0.5"))
    await until(lambda: "slow begins" in agent.output(), "it runs")
    init = inside(agent)[0]
    init.send_signal(signal.SIGTERM)
    await mesh.wait_agent("a1", fleet_pb2.AGENT_STATE_DRAINING)
    assert await slow == "0.5"
    assert await agent.wait() == 0, agent.output()


async def test_a_coordinator_stops_in_order(tmp_path: Path) -> None:
    address = tmp_path / "address"
    flags = ["--listen", "127.0.0.1:0", "--store", str(tmp_path / "weft.db"), "--address-file", str(address)]
    coordinator = first("coordinator", tmp_path, "coordinator", *flags)
    try:
        await until(lambda: address.exists() or not coordinator.alive, "it serves")
        init, command, *_ = inside(coordinator)
        assert command.ppid() == init.pid
        init.send_signal(signal.SIGTERM)
        assert await coordinator.wait() == 0, coordinator.output()
        assert "coordinator.stopped" in coordinator.output()
    finally:
        coordinator.cleanup()


@pytest.mark.parametrize(("args", "status"), [(["version"], 0), (["agent", "nowhere.at_all:agent"], 2)])
async def test_its_status_is_the_commands(tmp_path: Path, args: list[str], status: int) -> None:
    process = first("weft", tmp_path, *args)
    try:
        assert await process.wait(timeout_s=30) == status, process.output()
    finally:
        process.cleanup()


async def test_a_command_that_is_killed_is_told_as_a_shell_tells_it(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    agent = mesh.agents["a1"] = first(
        "a1", mesh.folder, "agent", PROGRAM, "--target", mesh.target, "--id", "a1"
    )
    await mesh.wait_agent("a1", instance_of=agent)
    inside(agent)[1].kill()
    assert await agent.wait() == 128 + signal.SIGKILL


async def test_a_program_of_its_own_is_told_what_it_lacks(tmp_path: Path) -> None:
    script = "from tests.support.orphaning_agent import agent; agent.run()"
    # Nobody listens there; at the default address a mesh may run.
    nowhere = {"WEFT_TARGET": "127.0.0.1:1"}
    process = Process("own", [*UNSHARE, sys.executable, "-c", script], log=tmp_path / "own.log", env=nowhere)
    try:
        await until(lambda: "process 1" in process.output() or not process.alive, "it says so")
        assert "weft agent" in process.output()
        await until(lambda: "session.unavailable" in process.output(), "it runs")
        inside(process)[0].send_signal(signal.SIGTERM)
        assert await process.wait() == 0, process.output()
    finally:
        process.cleanup()
