"""Connections without gRPC on the coordinator's port are closed, leave nothing behind, and disturb no other peer."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable

import psutil
import pytest
import pytest_asyncio

from probe.v1.probe_pb2 import Payload
from tests.support.lightweight import agents_apart
from tests.support.mesh import MeshHarness
from weft.v1 import fleet_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
CONNECTIONS = 200
# The handshake's time limit is 10 s.
CLOSED_S = 20.0
GROWTH_MIB = 60

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def _noise(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(1, 4096))


def _http1(rng: random.Random) -> bytes:
    return rng.choice(
        [
            b"GET / HTTP/1.1\r\nHost: weft\r\n\r\n",
            b"POST /weft.v1.CoordinatorService/SubmitTask HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            b"GET /" + b"a" * 100_000,
            b"CONNECT weft:443 HTTP/1.1\r\n\r\n",
        ]
    )


def _tls(_: random.Random) -> bytes:
    return bytes.fromhex("16030100c8010000c40303") + bytes(200)


def _broken_http2(rng: random.Random) -> bytes:
    """A good beginning, then frames that are too long, of unknown types, or headers that do not decode."""
    frame = struct.pack(">I", rng.randrange(1 << 24))[1:] + rng.randbytes(6)
    return PREFACE + SETTINGS + frame + rng.randbytes(rng.randrange(1, 2000))


def _nothing_or_half_a_preface(rng: random.Random) -> bytes:
    return PREFACE[: rng.choice([0, rng.randrange(len(PREFACE))])]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MeshHarness]:
    async with MeshHarness(tmp_path_factory.mktemp("mesh")) as harness:
        await harness.coordinator()
        async with agents_apart(harness.target, "good-", 1, log=harness.folder / "good.log"):
            await harness.wait_serving()
            yield harness


def _connect(target: str, content: bytes) -> socket.socket:
    host, _, port = target.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=5)
    # Closed already while it was being written to: that is what is wanted.
    with contextlib.suppress(OSError):
        connection.sendall(content)
    return connection


async def _serves(mesh: MeshHarness) -> None:
    for _ in range(5):
        assert await mesh.probe().Echo(Payload(data=b"x"), timeout=2) == Payload(data=b"x")
    assert await mesh.agent_states() == {"good-00000": fleet_pb2.AGENT_STATE_ACTIVE}


async def _endure(mesh: MeshHarness, content: Callable[[random.Random], bytes]) -> None:
    """Many such connections at once: others are served, and the coordinator closes its end of all of them."""
    process = mesh.coordinator_process
    assert process is not None
    seen = psutil.Process(process.pid)
    descriptors, memory_mib = seen.num_fds(), seen.memory_info().rss / MIB
    rng = random.Random(content.__name__)
    connections = [_connect(mesh.target, content(rng)) for _ in range(CONNECTIONS)]
    try:
        await _serves(mesh)

        async def closed() -> bool:
            return seen.num_fds() <= descriptors + 4

        await mesh.eventually(closed, "it closes what says nothing sensible", timeout_s=CLOSED_S)
    finally:
        for connection in connections:
            connection.close()
    await _serves(mesh)
    assert seen.memory_info().rss / MIB - memory_mib < GROWTH_MIB
    assert "Traceback" not in process.output()


@pytest.mark.parametrize("content", [_noise, _http1, _tls, _broken_http2], ids=lambda kind: kind.__name__)
async def test_connections_that_speak_no_grpc(
    mesh: MeshHarness, content: Callable[[random.Random], bytes]
) -> None:
    await _endure(mesh, content)


@pytest.mark.slow
async def test_half_open_connections_are_closed(mesh: MeshHarness) -> None:
    await _endure(mesh, _nothing_or_half_a_preface)


async def test_half_open_connections_disturb_nobody(mesh: MeshHarness) -> None:
    rng = random.Random(1)
    connections = [_connect(mesh.target, _nothing_or_half_a_preface(rng)) for _ in range(CONNECTIONS)]
    await _serves(mesh)
    for connection in connections:
        connection.close()
    await _serves(mesh)


@pytest.mark.slow
async def test_connections_that_come_and_go(mesh: MeshHarness) -> None:
    """A port scan: connected and gone, by a clean close or by a reset."""
    process = mesh.coordinator_process
    assert process is not None
    seen = psutil.Process(process.pid)
    descriptors = seen.num_fds()
    for number in range(5 * CONNECTIONS):
        connection = _connect(mesh.target, PREFACE if number % 2 else b"")
        if number % 3 == 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        if number % 100 == 0:
            await asyncio.sleep(0)
    await _serves(mesh)

    async def closed() -> bool:
        return seen.num_fds() <= descriptors + 4

    await mesh.eventually(closed, "every connection is gone", timeout_s=CLOSED_S)
