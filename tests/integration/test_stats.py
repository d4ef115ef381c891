"""Statistics by method: by RPC, by the library with and without asyncio, and by the command; of coordinators on one store."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.command import weft
from tests.support.mesh import MeshHarness
from tests.support.refusals import check, refused
from weft.client import InvalidArgument, MethodStats, connect
from weft.client.sync import connect as connect_sync
from weft.rpc.contracts.names import short
from weft.v1.stats_pb2 import GetStatsRequest
from weft.v1.stats_pb2_grpc import StatsServiceStub

CALL = tasks.method("Call")


async def call(mesh: MeshHarness, **fields: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await mesh.probe().Call(ProbeRequest(**fields), timeout=20)


async def of_call(mesh: MeshHarness) -> MethodStats:
    async with connect(mesh.target) as client:
        (found,) = (await client.stats(CALL)).methods
        return found


async def test_statistics_count_what_happened(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    await mesh.agent("a1")
    stub = StatsServiceStub(mesh.channel())
    assert not (await stub.GetStats(GetStatsRequest())).methods
    for _ in range(5):
        await mesh.probe().Call(ProbeRequest(text="x", sleep_s=0.05), timeout=20)
    await call(mesh, fail_code=code_pb2.NOT_FOUND)
    once = ProbeRequest(text="f", fail_code=code_pb2.UNAVAILABLE, fail_message="no", fail_attempts=1)
    await tasks.end(mesh, await tasks.submit(mesh, once))

    found = await of_call(mesh)
    assert (found.submitted, found.succeeded, found.failed, found.cancelled) == (7, 6, 1, 0)
    assert (found.retried, found.rerun, found.attempts.succeeded, found.attempts.failed) == (1, 0, 6, 2)
    assert found.error_share == pytest.approx(1 / 7)
    assert found.attempts.error_share == pytest.approx(2 / 8)
    assert found.wait.count == found.run.count == 8
    assert found.run.p50_s is not None
    assert found.run.p99_s is not None
    assert 0.04 < found.run.p50_s <= found.run.p99_s < 20

    def without_asyncio() -> None:
        with connect_sync(mesh.target) as client:
            stats = client.stats()
            assert [each.method for each in stats.methods] == [CALL]
            assert not stats.shared_store
            assert 0 < stats.covered_s <= 320
            assert not client.stats("other.v1.Service/Method").methods
            with pytest.raises(InvalidArgument, match="window is 301 s; it must be between 10 s and 300 s"):
                client.stats(window_s=301)

    await asyncio.to_thread(without_asyncio)
    status = await refused(stub.GetStats(GetStatsRequest(window=Duration(seconds=1))))
    check(status, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "window")

    shown = await weft("stats", target=mesh.target)
    assert short(CALL) in shown.out
    assert "14%" in shown.out
    (document,) = (await weft("stats", "--method", "Call", "--json", target=mesh.target)).documents
    (method,) = document["methods"]
    assert (method["method"], method["attempts"]["failed"], method["run"]["count"]) == (CALL, 2, 8)
    refusal = await weft("stats", "--method", "Nothing/There", target=mesh.target)
    assert (refusal.status, "Nothing/There" in refusal.err) == (2, True)


async def test_each_coordinator_of_a_store_has_its_own(pair: tuple[MeshHarness, MeshHarness]) -> None:
    mesh, other = pair
    await mesh.agent("a1")
    await other.wait_contract("a1")
    for door in (mesh, other, other):
        await door.probe().Call(ProbeRequest(text="x"), timeout=20)
    here, there = await of_call(mesh), await of_call(other)
    assert here.submitted + there.submitted == 3
    # The agent's coordinator has the attempts.
    assert here.attempts.succeeded == here.wait.count == 3
    both = await weft("stats", "--json", target=f"{mesh.target},{other.target}")
    assert [answer["shared_store"] for answer in both.documents] == [True, True]
    assert len({answer["coordinator_id"] for answer in both.documents}) == 2
    assert other.coordinator_process is not None
    await other.coordinator_process.kill()
    one = await weft("stats", target=f"{mesh.target},{other.target}")
    assert one.status == 1
    assert "other coordinators of its store have their own numbers" in one.out
    assert "no coordinator answers" in one.err
