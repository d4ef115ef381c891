"""Coordinators and agents tell systemd how they are: over its real socket, which the test listens at in systemd's place."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from pathlib import Path
from typing import cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support import systemd
from tests.support.mesh import MeshHarness
from weft.client import connect
from weft.coordinator.store.embedded.embedded_store import EmbeddedStore
from weft.rpc.process.service_notices import ServiceNotices, passed_sockets, service_notices
from weft.testing import mesh_of


class Listener:
    """The socket of a service's manager."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}
        self.told: list[str] = []

    async def wait(self, line: str, times: int = 1) -> None:
        """Wait until a line has been told so many times from now on."""
        self.told.clear()
        async with asyncio.timeout(20):
            while sum(each == line for each in self.told) < times:
                data = await asyncio.get_running_loop().sock_recv(self._socket, 4096)
                self.told.extend(data.decode().splitlines())

    def close(self) -> None:
        self._socket.close()


async def test_coordinators_and_agents_tell_systemd(mesh: MeshHarness, tmp_path: Path) -> None:
    for_coordinator, for_agent = Listener(str(tmp_path / "c.sock")), Listener(f"@weft-test-{tmp_path}")
    try:
        mesh.env = for_coordinator.env
        coordinator = await mesh.coordinator()
        await for_coordinator.wait("READY=1")
        assert f"STATUS=serves at {mesh.target}" in for_coordinator.told
        agent = await mesh.agent("a1", env=for_agent.env, wait=False)
        # Ready before it is connected: its coordinator may be away for long.
        await for_agent.wait("READY=1")
        if f"STATUS=connected to {mesh.target}" not in for_agent.told:
            await for_agent.wait(f"STATUS=connected to {mesh.target}")
        await for_agent.wait("WATCHDOG=1", 3)
        await for_coordinator.wait("WATCHDOG=1", 3)
        stopped = asyncio.create_task(agent.terminate())
        await for_agent.wait("STOPPING=1")
        assert await stopped == 0
        stopped = asyncio.create_task(coordinator.terminate())
        await for_coordinator.wait("STOPPING=1")
        assert await stopped == 0
    finally:
        for_coordinator.close()
        for_agent.close()


@pytest.mark.parametrize(
    ("given", "watchdog_s"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": ""}, None),
        ({"NOTIFY_SOCKET": "vsock:2:1"}, None),
        ({"NOTIFY_SOCKET": "/run/x"}, 0.0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000"}, 30.0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"}, 0.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "9" * 400}, 0.0),
    ],
)
def test_the_variables_of_systemd(given: dict[str, str], watchdog_s: float | None) -> None:
    environ = {**given, "PATH": "/bin"}
    found = service_notices(environ)
    # A child of this process is no service.
    assert environ == {"PATH": "/bin"}
    assert (found and found._watchdog_s) == watchdog_s


@pytest.mark.slow
async def test_an_agent_that_is_restarted_does_not_stop_for_systemd(
    mesh: MeshHarness, tmp_path: Path
) -> None:
    """STOPPING=1 would let systemd kill it after TimeoutStopSec, although a new program has taken it over."""
    listener = Listener(str(tmp_path / "n.sock"))
    try:
        await mesh.coordinator()
        # Forked ones (see CONTRIBUTING.md) have no command of their own that could begin anew.
        agent = await mesh.agent("a1", env=listener.env | {"STARTED": "by itself"})
        async with connect(mesh.target) as client:
            assert [each.error async for each in client.fleet.select("a1").restart()] == [None]
        await listener.wait("RELOADING=1")
        assert not any(line == "STOPPING=1" for line in listener.told)
        if "READY=1" not in listener.told:
            await listener.wait("READY=1")
        await listener.wait("WATCHDOG=1")
        assert agent.alive
    finally:
        listener.close()


async def test_a_process_whose_store_is_silent_does_not_live(tmp_path: Path) -> None:
    listener = Listener(str(tmp_path / "n.sock"))
    asked, silent = 0, asyncio.Event()

    async def probe() -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise OSError("an error is an answer")
        silent.set()
        await asyncio.Event().wait()

    following = asyncio.create_task(ServiceNotices(str(tmp_path / "n.sock"), 0.04).follow(lambda: "", probe))
    await listener.wait("READY=1")
    if "WATCHDOG=1" not in listener.told:
        await listener.wait("WATCHDOG=1")
    await silent.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await listener.wait("WATCHDOG=1")
    assert asked > 2, "it goes on asking"
    following.cancel()
    listener.close()


async def test_what_the_probe_of_a_coordinator_asks() -> None:
    """The writer of the embedded store: one that hangs is noticed."""
    async with mesh_of() as local:
        coordinator = local._coordinator
        await coordinator.probe_store()
        assert coordinator.status_line() == f"serves at {coordinator.address}"
        journal = cast("EmbeddedStore", coordinator._store)._journal
        hangs = threading.Event()
        held = asyncio.create_task(journal.run(lambda _: hangs.wait()))
        probed = asyncio.create_task(coordinator.probe_store())
        done, _ = await asyncio.wait([probed], timeout=0.1)
        assert not done, "it waits for the writer, as every change"
        hangs.set()
        await held
        await probed
        journal.writable = False
        assert coordinator.status_line().endswith("; its store cannot be written")
        # That it tries again is known: it does not hang.
        await coordinator.probe_store()
        journal.writable = True


@pytest.mark.parametrize(
    "words",
    [["coordinator", "--store", ":memory:"], pytest.param(["agent", "a:b"], marks=pytest.mark.slow)],
)
async def test_sockets_of_systemd_are_refused(words: list[str]) -> None:
    """Else their callers would wait for ever."""
    command = f"LISTEN_FDS=2 LISTEN_PID=$$ exec {sys.executable} -P -m weft.cli.main {' '.join(words)}"
    process = await asyncio.create_subprocess_exec("sh", "-c", command, stderr=asyncio.subprocess.PIPE)
    _, told = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert b"systemd has passed 2 open sockets" in told
    assert passed_sockets({"LISTEN_FDS": "2", "LISTEN_PID": "1"}) == 0
    assert passed_sockets({"LISTEN_FDS": "x", "LISTEN_PID": str(os.getpid())}) == 0


@pytest.mark.slow
@pytest.mark.skipif(not systemd.can_pass_sockets, reason="needs systemd-socket-proxyd")
async def test_a_restart_behind_a_socket_of_systemd_loses_no_connection(mesh: MeshHarness) -> None:
    """As docs/deploy/operating-systems.md has it: a stock call that does not wait, while neither coordinator nor proxy runs."""
    with socket.create_server(("127.0.0.1", 0)) as held:

        async def check() -> int:
            target = f"127.0.0.1:{held.getsockname()[1]}"
            async with grpc.aio.insecure_channel(target) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
                return int(answer.status)

        async def proxy() -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(
                *systemd.proxy(held, mesh.target), pass_fds=[held.fileno()]
            )

        await mesh.coordinator()
        passing = await proxy()
        try:
            assert await check() == health_pb2.HealthCheckResponse.SERVING
            # In the order of the units.
            passing.terminate()
            await passing.wait()
            restarted = asyncio.create_task(mesh.restart_coordinator())
            waiting = asyncio.create_task(check())
            await restarted
            passing = await proxy()
            assert await waiting == health_pb2.HealthCheckResponse.SERVING
        finally:
            passing.terminate()
            await passing.wait()


async def test_a_status_is_one_line_and_a_socket_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    address = str(tmp_path / "n.sock")
    listener = Listener(address)
    notices = ServiceNotices(address, 0.02)
    following = asyncio.create_task(notices.follow(lambda: "a\nREADY=0\x1b" + "x" * 5000))
    await listener.wait("READY=1")
    (status,) = (each for each in listener.told if each.startswith("STATUS="))
    assert status.startswith("STATUS=a READY=0 xxx")
    assert len(status) < 300
    listener.close()
    Path(address).unlink()
    await asyncio.sleep(0.05)
    assert not following.done()
    following.cancel()
