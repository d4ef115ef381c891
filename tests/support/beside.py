"""A stock app and its sidecar as real processes, for tests: started, killed and started again on their addresses."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Mapping

import grpc
import grpc.aio

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import Payload
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.processes import Process, until

# How an app's call goes on from the egress.
DURABLE = ("weft-mode", "durable")
DIRECT = ("weft-mode", "direct")


def free_address() -> str:
    """A "host:port" on which no process listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class StockApp:
    """A stock server on an address that stays the same over its restarts."""

    def __init__(self, mesh: MeshHarness, name: str = "app", address: str = "") -> None:
        self._mesh = mesh
        self.name = name
        self.address = address or free_address()
        self.process: Process | None = None
        self._starts = 0

    async def start(self, *flags: str) -> Process:
        """Start it, and wait until it listens."""
        self._starts += 1
        key = f"{self.name}.{self._starts}"
        words = [self.address, "--name", self.name, *flags]
        log = self._mesh.folder / f"{key}.log"
        process = Process.module(key, "tests.support.stock_app", *words, log=log, stock=True)
        self._mesh.others.append(process)
        self.process = process
        await until(lambda: "serving" in process.output() or not process.alive, f"{key} serves")
        assert process.alive, process.output()
        return process

    async def kill(self) -> None:
        assert self.process is not None
        await self.process.kill()


async def sidecar(
    mesh: MeshHarness,
    app: str,
    *flags: str,
    agent_id: str = "side",
    slots: int = 8,
    egress: str = "off",
    env: Mapping[str, str] | None = None,
    wait: bool = True,
) -> Process:
    """Start `weft agent --app` and, with `wait`, wait until its methods take calls."""
    words = ["--app", app, "--egress", egress, "--target", mesh.target, "--id", agent_id]
    words += ["--slots", str(slots), *flags]
    process = Process.weft(
        agent_id,
        "agent",
        *words,
        log=mesh.folder / f"{agent_id}.log",
        env=mesh.agent_env | dict(env or {}),
        redirect=mesh.redirect,
    )
    mesh.agents[agent_id] = process
    if wait:
        await mesh.wait_agent(agent_id, instance_of=process)
        await mesh.wait_contract(agent_id)
        await available(mesh, agent_id)
    return process


async def available(
    mesh: MeshHarness, agent_id: str, *, wanted: bool = True, timeout_s: float = 20.0
) -> float:
    """Wait until an agent's probe methods take calls, or do not, at the coordinator; gives the seconds it took."""
    from tests.support import tasks

    began_at = time.monotonic()

    async def seen() -> bool:
        methods = (await tasks.agent(mesh, agent_id)).methods
        return bool(methods) and all(
            method.unavailable is not wanted for method in methods if method.name.startswith(PROBE_SERVICE)
        )

    await mesh.eventually(seen, f"{agent_id} available: {wanted}", timeout_s=timeout_s)
    return time.monotonic() - began_at


async def direct_address(mesh: MeshHarness, agent_id: str) -> str:
    """The advertised address of an agent's direct server, from the coordinator."""
    from tests.support import tasks

    address = (await tasks.agent(mesh, agent_id)).advertised_address
    assert address, f"{agent_id} has no direct server\n{mesh.logs()}"
    return address


def probe_at(address: str) -> tuple[grpc.Channel, probe_pb2_grpc.ProbeServiceStub]:
    """A stock synchronous client of the probe service there."""
    channel = grpc.insecure_channel(address)
    return channel, probe_pb2_grpc.ProbeServiceStub(channel)


async def until_reached(egress: str) -> None:
    """Wait until the egress knows somebody who answers."""
    with grpc.insecure_channel(egress) as channel:
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        await asyncio.to_thread(stub.Echo, Payload(), timeout=20, wait_for_ready=True)
