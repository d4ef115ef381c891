"""The hardware service in a mesh: hosted by name, found and called by clients that know nothing of weft."""

from __future__ import annotations

import json

import grpc
import pytest

from tests.support.mesh import MeshHarness
from tests.support.reflecting import find_grpcurl, grpcurl
from weft.services.hardware.v1 import hardware_pb2, hardware_pb2_grpc

SERVICE = "weft.services.hardware.v1.HardwareService"


async def test_beside_a_program_and_alone(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("alone", program="", services="hardware")
    await mesh.agent("beside", services="hardware")
    stub = hardware_pb2_grpc.HardwareServiceStub(mesh.channel())
    for agent_id in ("alone", "beside"):
        answer = await stub.GetSnapshot(
            hardware_pb2.GetSnapshotRequest(measure_over={"nanos": 100_000_000}),
            timeout=10,
            metadata=(("weft-agent", agent_id),),
        )
        assert answer.snapshot.host.agent_id == agent_id
        assert answer.snapshot.processor.logical_cores > 0
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.GetSnapshot(hardware_pb2.GetSnapshotRequest(max_processes=101), timeout=10)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "max_processes: must be less than or equal to 100" in str(refused.value.details())


async def test_grpcurl_finds_and_calls_it(mesh: MeshHarness) -> None:
    find_grpcurl()
    await mesh.coordinator()
    await mesh.agent("hw", program="weft.services.hardware:agent")
    code, printed = await grpcurl(mesh.target, ["list"])
    assert code == 0, printed
    assert SERVICE in printed.split()
    code, printed = await grpcurl(mesh.target, ["describe", f"{SERVICE}.GetSnapshot"])
    assert code == 0, printed
    code, printed = await grpcurl(mesh.target, [f"{SERVICE}/GetSnapshot"], ["-d", '{"max_processes": 1}'])
    assert code == 0, printed
    assert json.loads(printed)["snapshot"]["host"]["agent_id"] == "hw"
