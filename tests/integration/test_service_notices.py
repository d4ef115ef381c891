"""Coordinators and agents tell systemd how they are: over its real socket, which the test listens at in systemd's place."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from tests.support.mesh import MeshHarness
from weft.rpc.process.service_notices import ServiceNotices, service_notices


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
