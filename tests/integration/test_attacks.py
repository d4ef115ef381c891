"""Attacks on the coordinator's port by peers that speak HTTP/2: memory stays bounded, and honest callers are served in time.

Connections that speak no HTTP/2 are in `test_bad_input_wire`, peers that do not read in `test_bad_input_streams`, agents that break the
rules of a session in `test_bad_input_sessions`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import grpc.aio
import psutil
import pytest
import pytest_asyncio

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import Payload
from tests.support.attacker import ATTACKS, BEGUN
from tests.support.mesh import MeshHarness
from tests.support.processes import Process, until
from tests.support.raw_http2 import RawConnection
from weft.v1 import fleet_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
# `make attacks` lets each go on for longer.
LASTS_S = float(os.environ.get("TEST_ATTACK_S", "1.2"))
# What the coordinator may grow by, in MiB.
GROWTH_MIB = {
    # Each connection that is open costs some 14 KiB.
    "idle_connections": 250,
    # What of a request has come is kept until the rest comes: that of `attacker.UNFINISHED` requests.
    "unfinished": 32 * 15 + 100,
    # FLOODED_STREAMS * 1 MiB, as long as they are open, and what is on its way.
    "header_floods": 400,
}
FEW_MIB = 250
# How much slower honest calls may be than those of a mesh that is not attacked, and what is no measure: of half of the calls, and of almost
# all; more where other tests have the cores, too, as the slowest of some hundred calls is one that had none for a moment.
SLOWER = 3.0
NO_MEASURE_S = 0.03
NO_MEASURE_OF_ALL_S = 0.03 if "TEST_ATTACK_S" in os.environ else 0.3
# Calls are served in the order in which they came, and each stream that a connection may have open costs some 0.1 ms, a call more. All
# connections of a flood are made in a second.
# A step of loading a contract may hold the interpreter for 0.1 s.
# All of these hold for a coordinator that has a core. Where it waits for one, they are as many times longer, at most MOST_TIMES.
MOST_TIMES = 10.0
LONGEST_S = {"resets": 1.0, "whole_calls": 4.0, "idle_connections": 4.0, "contracts": 0.1}


class Took(NamedTuple):
    """Seconds of calls."""

    half_s: float
    p99_s: float

    def __str__(self) -> str:
        return f"{self.half_s * 1000:.1f} and {self.p99_s * 1000:.1f} ms"


class Honest:
    """A caller, one call after another, and how long each takes."""

    def __init__(self, mesh: MeshHarness) -> None:
        self._stub = probe_pb2_grpc.ProbeServiceStub(mesh.own_channel())
        self._going = True

    async def calls(self, lasts_s: float) -> Took:
        """What calls take for so long. A call that fails is an error."""
        ends_at, took = time.monotonic() + lasts_s, []
        while time.monotonic() < ends_at:
            began_s = time.monotonic()
            assert await self._stub.Echo(Payload(data=b"x"), timeout=10) == Payload(data=b"x")
            took.append(time.monotonic() - began_s)
            await asyncio.sleep(0.005)
        took.sort()
        return Took(took[len(took) // 2], took[int(0.99 * len(took))])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator()
        await harness.agent("good", slots=8)
        await harness.wait_serving()
        yield harness


def _scheduled(process_id: int) -> tuple[int, int]:
    """How long its main thread, the event loop, has run, and has waited for a core that others had; both in nanoseconds."""
    ran, waited, _ = Path(f"/proc/{process_id}/schedstat").read_text().split()
    return int(ran), int(waited)


@contextmanager
def _attack(mesh: MeshHarness, name: str, lasts_s: float) -> Iterator[Process]:
    log = mesh.folder / f"{name}.log"
    process = Process.module("attacker", "tests.support.attacker", name, mesh.target, str(lasts_s), log=log)
    try:
        yield process
    finally:
        process.cleanup()


async def _peak_mib(process: psutil.Process, lasts_s: float) -> float:
    ends_at, peak = time.monotonic() + lasts_s, 0.0
    while time.monotonic() < ends_at:
        peak = max(peak, process.memory_info().rss / MIB)
        await asyncio.sleep(0.05)
    return peak


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def control(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Honest]:
    """A caller of another mesh, which nobody attacks: what it waits, the machine costs, with all that runs on it."""
    async with MeshHarness(tmp_path_factory.mktemp("control")) as harness:
        await harness.coordinator()
        await harness.agent("good", slots=8)
        await harness.wait_serving()
        yield Honest(harness)


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
async def test_honest_callers_are_served_meanwhile(mesh: MeshHarness, control: Honest, name: str) -> None:
    coordinator = mesh.coordinator_process
    assert coordinator is not None
    seen, honest = psutil.Process(coordinator.pid), Honest(mesh)
    before_mib = seen.memory_info().rss / MIB
    await honest.calls(0.1)
    # Another test may have had the cores for a moment.
    for once_more in (True, True, False):
        with _attack(mesh, name, LASTS_S) as attacker:
            await until(lambda it=attacker: BEGUN in it.output(), "the attack has begun", timeout_s=60)  # type: ignore[misc]
            before = _scheduled(coordinator.pid)
            under, usual, peak_mib = await asyncio.gather(
                honest.calls(LASTS_S), control.calls(LASTS_S), _peak_mib(seen, LASTS_S)
            )
            ran, waited = (now - then for now, then in zip(_scheduled(coordinator.pid), before, strict=True))
            longer = min(MOST_TIMES, 1.0 + waited / max(1, ran))
            await attacker.wait(timeout_s=60)
            did = json.loads(attacker.output().splitlines()[-1])
        told = f"{name}: {did}, half and p99: {usual}, attacked {under}; {before_mib:.0f} -> {peak_mib:.0f} MiB; {longer:.1f} times longer"
        print(told)
        assert any(did.values()), told
        assert peak_mib - before_mib < GROWTH_MIB.get(name, FEW_MIB), told
        longest_s = LONGEST_S.get(name, 0.0)
        half_s, all_s = max(NO_MEASURE_S, longest_s) * longer, max(NO_MEASURE_OF_ALL_S, longest_s) * longer
        if under.half_s < max(SLOWER * usual.half_s, half_s) and under.p99_s < max(
            SLOWER * usual.p99_s, all_s
        ):
            break
        assert once_more, told
    # It is as before, and no agent was lost.
    await honest.calls(0.2)
    assert (await mesh.agent_states())["good"] == fleet_pb2.AGENT_STATE_ACTIVE
    output = coordinator.output()
    assert "Traceback" not in output
    assert all("good" not in line for line in output.splitlines() if "agent.lost" in line)


async def test_connections_have_a_bound(tmp_path: Path) -> None:
    async with MeshHarness(tmp_path) as mesh:
        await mesh.coordinator(max_connections=20, max_streams=2)
        # An honest peer that is there already keeps its connection.
        await mesh.agent_states()
        held: list[RawConnection] = []
        for _ in range(40):
            # It may be closed already while it begins.
            with contextlib.suppress(OSError):
                held.append(RawConnection(mesh.target))

        async def most() -> bool:
            return 40 - len(held) + sum(map(_is_closed, held)) >= 20

        await mesh.eventually(most, "connections beyond the bound are closed")
        assert await mesh.agent_states() == {}
        for each in held:
            each.close()

        async def room() -> bool:
            async with grpc.aio.insecure_channel(mesh.target) as channel:
                try:
                    await asyncio.wait_for(channel.channel_ready(), 2)
                except TimeoutError:
                    return False
            return True

        await mesh.eventually(room, "there is room again")


def _is_closed(connection: RawConnection) -> bool:
    """Whether the server has closed it; what has come is read."""
    with contextlib.suppress(OSError):
        while connection.pump(0.0):
            pass
    try:
        connection.socket.settimeout(0.001)
        return connection.socket.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True
