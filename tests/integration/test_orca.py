"""Load reports in gRPC's own form (gRFC A51): in trailers, out of band, and through a relay; and what stock clients make of them."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf.struct_pb2 import Struct, Value

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.support.mesh import MeshHarness
from weft.agent import Agent
from weft.agent.direct.orca_service import PATH
from weft.rpc.calls import relay
from weft.rpc.calls.metadata import LOAD_KEY, ORCA_KEY
from weft.testing import mesh_of
from weft.v1 import agent_pb2
from weft.v1 import coordinator_pb2 as api

METHOD = "own.v1.Own/Echo"


async def test_reports_out_of_band() -> None:
    agent = Agent("reporting")
    queue: list[int] = []
    agent.gauge("queue_len", lambda: len(queue))

    @agent.method(METHOD)
    async def echo(request: dict[str, object]) -> dict[str, object]:
        if request:
            raise ValueError("as asked")
        return request

    async with (
        mesh_of(agent, heartbeat_interval_s=0.1),
        grpc.aio.insecure_channel(agent.direct_address) as channel,
    ):
        stream = channel.unary_stream(PATH)(b"")
        first = agent_pb2.OrcaLoadReport.FromString(await stream.read())
        assert first.named_metrics["slots"] == agent.settings.slots
        call = channel.unary_unary(f"/{METHOD}")
        for number in range(20):
            request = Struct(fields={"x": Value(number_value=1)} if number % 4 == 0 else {})
            await asyncio.gather(call(request.SerializeToString(), timeout=20), return_exceptions=True)
        async with asyncio.timeout(20):
            report = first
            while not (report.rps_fractional > 0 and report.eps > 0):
                # A changed gauge is reported with the next heartbeat, and rates with it.
                queue.append(1)
                report = agent_pb2.OrcaLoadReport.FromString(await stream.read())
        assert report.rps_fractional == pytest.approx(4 * report.eps)
        assert report.named_metrics["queue_len"] > 0
        stream.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_stream(PATH)(b"\xff").read()
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_relay_hands_the_report_on() -> None:
    """gRPC takes the trailer that stock clients read, and weft's other one with the same bytes is left."""
    found = relay._trailers([(LOAD_KEY, b"report"), ("own", "x"), (ORCA_KEY, b"older")])
    assert found == ((LOAD_KEY, b"report"), ("own", "x"), (ORCA_KEY, b"report"))
    assert relay._trailers([("own", "x")]) == (("own", "x"),)


@pytest.mark.slow
async def test_stock_clients_balance_by_weight(mesh: MeshHarness, tmp_path: Path) -> None:
    """gRPC's own weighted_round_robin, over the ports of two agents of which one is busy with tasks."""
    await mesh.coordinator()
    for agent_id in ("idle", "busy"):
        await mesh.agent(agent_id, slots=8)
    busy = api.SubmitTaskRequest(
        method="probe.v1.ProbeService/Call", payload=ProbeRequest(sleep_s=60).SerializeToString()
    )
    busy.options.requirements.labels["agent.id"] = "busy"
    for _ in range(6):
        await mesh.api().SubmitTask(busy, timeout=20)
    agents = (await mesh.api().ListAgents(api.ListAgentsRequest(), timeout=20)).agents
    config = {
        "loadBalancingConfig": [
            {"weighted_round_robin": {"blackoutPeriod": "0.1s", "weightUpdatePeriod": "0.1s"}}
        ]
    }
    target = "ipv4:" + ",".join(agent.advertised_address for agent in agents)
    options = [("grpc.service_config", json.dumps(config))]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        stub = probe_pb2_grpc.ProbeServiceStub(channel)
        counted: Counter[str] = Counter()
        async with asyncio.timeout(60):
            # The first reports have no rates yet: equal weights.
            while counted["idle"] < 2 * counted["busy"] or counted.total() < 100:
                counted = Counter()
                for _ in range(100):
                    counted[(await stub.Call(ProbeRequest(text="x"), timeout=20)).agent_id] += 1
        assert counted["busy"] > 0
