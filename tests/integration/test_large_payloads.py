"""A GiB through a mesh by the store of payloads, in a stream: the memory that it needs is that of a few messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from probe.v1 import probe_pb2, probe_pb2_grpc
from tests.support.mesh import PROBE_SERVICE, MeshHarness
from tests.support.processes import Process
from weft.client import Payloads, connect, methods
from weft.rpc.payloads import key_file

MIB = 1024 * 1024
T = 300.0
probe: Any = methods(probe_pb2_grpc.ProbeServiceStub)


def peak_bytes(process: Process) -> int:
    """The most memory that a process had."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.slow
async def test_a_gib_through_the_store(mesh: MeshHarness) -> None:
    keys = mesh.folder / "keys"
    keys.write_text(f"{key_file.new_line('k1')}\n")
    keys.chmod(0o600)
    store = mesh.folder / "payloads"
    env = {"WEFT_PAYLOAD_KEYS_FILE": str(keys), "WEFT_PAYLOAD_STORE": str(store)}
    coordinator = await mesh.coordinator()
    agent = await mesh.agent("a1", env=env)
    await mesh.wait_serving(PROBE_SERVICE)
    at_first = peak_bytes(agent), peak_bytes(coordinator)
    async with connect(mesh.target, payloads=Payloads(keys_file=keys, store=str(store))) as client:
        request = probe_pb2.ProbeRequest(stream_count=16, reply_size_bytes=64 * MIB)
        handle = await client.tasks.submit(probe.Stream, request)
        sizes = [len(reply.blob) async for reply in handle.stream()]
        assert sizes == [64 * MIB] * 16
        stored = sum(each.stat().st_size for each in store.rglob("*") if each.is_file())
        assert stored >= 1024 * MIB
        # A few messages of 64 MiB at a time: the handler's, its bytes, and what is being written.
        assert peak_bytes(agent) - at_first[0] < 400 * MIB
        blob = bytes(256 * MIB)
        stub = probe_pb2_grpc.ProbeServiceStub(client.channel(direct=True))
        reply = await stub.Echo(probe_pb2.Payload(data=blob), timeout=T)
        assert len(reply.data) == len(blob)
        # The request and the response, as bytes and as messages, and copies on their way.
        assert peak_bytes(agent) - at_first[0] < 7 * 256 * MIB
        assert peak_bytes(coordinator) - at_first[1] < 64 * MIB
