"""Live metrics of real processes, read by prometheus-client's parsers: names, units, help, and what the table of the docs says."""

from __future__ import annotations

import asyncio
import re

import grpc
import pytest

from probe.v1.probe_pb2 import ProbeRequest
from scripts import metrics_table
from tests.support.mesh import MeshHarness
from tests.support.processes import Process, until
from tests.support.scraped import Scraped, address_in, scrape
from weft.rpc.telemetry.agent_metrics import AGENT_METRICS, SIDECAR_METRICS
from weft.rpc.telemetry.balancer_metrics import BALANCER_METRICS
from weft.rpc.telemetry.call_figures import RPC_METRICS
from weft.rpc.telemetry.coordinator_metrics import COORDINATOR_METRICS, PLACEMENTS
from weft.rpc.telemetry.exposition import prometheus_name
from weft.rpc.telemetry.host_metrics import ALWAYS, CUSTOM, HOST_METRICS
from weft.rpc.telemetry.process_metrics import PROCESS_ALWAYS, PROCESS_METRICS
from weft.v1 import agent_pb2, agent_pb2_grpc
from weft.v1 import coordinator_pb2 as api

CALL = "probe.v1.ProbeService/Call"
# Those of processes in a container with limits.
_LIMITS = {prometheus_name(spec) for spec in PROCESS_METRICS if spec not in PROCESS_ALWAYS}
_UNITS = ("_seconds", "_bytes", "_ratio")
_TRACE = f"00-{'7' * 32}-{'1' * 16}-01"


async def test_metrics_of_a_mesh(mesh: MeshHarness) -> None:
    await mesh.coordinator(metrics="127.0.0.1:0")
    await mesh.agent("a1", env={"WEFT_AGENT_METRICS": "127.0.0.1:0"})
    for number in range(5):
        metadata = (("traceparent", _TRACE),) if number == 4 else ()
        await mesh.probe().Call(ProbeRequest(text="x"), timeout=20, metadata=metadata)
    with pytest.raises(grpc.aio.AioRpcError):
        await mesh.probe().Call(ProbeRequest(fail_code=5), timeout=20)
    with pytest.raises(grpc.aio.AioRpcError):
        await mesh.channel().unary_unary("/made.up.v1.Name/Call")(b"", timeout=20)
    queued = api.SubmitTaskRequest(method=CALL)
    queued.options.requirements.labels["zone"] = "nowhere"
    await mesh.api().SubmitTask(queued, timeout=20)
    address = address_in(mesh.folder / "coordinator.log")

    async def counted() -> bool:
        # Queues are looked at every 5 s.
        return (await scrape(address)).value("weft_queue_tasks", method=CALL, state="queued") == 1

    await mesh.eventually(counted, "the queue is seen")
    found = await scrape(address)
    _check_form(found)
    own = {*COORDINATOR_METRICS, *RPC_METRICS, *BALANCER_METRICS, *PROCESS_ALWAYS} - {PLACEMENTS}
    assert found.families.keys() - _LIMITS == {prometheus_name(spec) for spec in own}
    assert found.value("process_memory_usage_bytes") > 1_000_000
    assert found.value("weft_log_lines_lost_total") == 0
    assert found.value("weft_spans_dropped_total", reason="failed") == 0
    assert found.value("weft_queue_tasks", method=CALL, state="without_agent") == 1
    assert found.value("weft_tasks_submitted_total", method=CALL) == 7
    assert found.value("weft_tasks_ended_total", method=CALL, outcome="succeeded") == 5
    assert found.value("weft_tasks_ended_total", method=CALL, outcome="failed") == 1
    assert found.value("weft_attempts_ended_total", method=CALL, reason="failed") == 1
    assert found.value("weft_task_wait_duration_seconds_count", method=CALL) == 6
    assert found.value("weft_attempt_duration_seconds_count", method=CALL) == 6
    assert found.value("weft_tasks_unfinished") == 1
    assert found.value("weft_queue_oldest_age_seconds", method=CALL) > 0
    assert found.value("weft_sessions") == 1
    assert found.value("weft_slots", state="free") == 4
    assert found.value("weft_store_writable") == 1
    assert found.value("weft_store_write_duration_seconds_count") > 0
    assert found.value("weft_event_loop_lag_seconds_count") > 0
    calls = {"rpc_system_name": "grpc", "rpc_method": CALL}
    count = "rpc_server_call_duration_seconds_count"
    assert found.value(count, **calls, rpc_response_status_code="OK") == 5
    assert found.value(count, **calls, rpc_response_status_code="NOT_FOUND") == 1
    assert found.value(count, rpc_method="_OTHER", rpc_response_status_code="UNIMPLEMENTED") == 1
    assert found.value(count, rpc_method="weft.v1.CoordinatorService/SubmitTask") == 1
    assert "made.up" not in found.text
    # Sessions, watches and health are not timed.
    assert "Connect" not in found.text
    assert "grpc.health" not in found.text
    traced = {
        family
        for family in ("weft_task_wait_duration_seconds", "weft_attempt_duration_seconds")
        for sample in found.families[family].samples
        if sample.exemplar and sample.exemplar.labels["trace_id"] == "7" * 32
    }
    assert len(traced) == 2
    await _check_agent(mesh)


async def _check_agent(mesh: MeshHarness) -> None:
    """One direct call by the coordinator, one by `Execute`; then what the agent says."""
    await mesh.probe().Call(ProbeRequest(text="x"), timeout=20, metadata=(("weft-mode", "direct"),))
    (agent,) = (await mesh.api().ListAgents(api.ListAgentsRequest(), timeout=20)).agents
    async with grpc.aio.insecure_channel(agent.advertised_address) as channel:
        stream = agent_pb2_grpc.AgentServiceStub(channel).Execute()
        call = agent_pb2.DirectCall(id=1, method=CALL, payload=ProbeRequest(text="x").SerializeToString())
        await stream.write(agent_pb2.ExecuteRequest(calls=[call]))
        await stream.done_writing()
        assert [result.id async for message in stream for result in message.results] == [1]
    found = await scrape(address_in(mesh.folder / "a1.log"))
    _check_form(found)
    always = (*AGENT_METRICS, *RPC_METRICS, *BALANCER_METRICS, *PROCESS_ALWAYS)
    own = {prometheus_name(spec) for spec in always}
    assert found.families.keys() - _LIMITS - {prometheus_name(spec) for spec in HOST_METRICS} == own
    assert {prometheus_name(spec) for spec in (*ALWAYS, CUSTOM)} <= found.families.keys()
    assert found.value("system_memory_usage_bytes", system_memory_state="used") > 1_000_000
    assert found.value("system_cpu_time_seconds_total", cpu_logical_number="0", cpu_mode="user") > 0
    assert found.value("process_unix_file_descriptor_count") > 3
    assert found.value("weft_agent_attempts_ended_total", method=CALL, reason="succeeded") == 5
    assert found.value("weft_agent_attempts_ended_total", method=CALL, reason="failed") == 1
    assert found.value("weft_agent_attempt_duration_seconds_count", method=CALL) == 6
    assert 'trace_id="7777' in found.text
    assert found.value("weft_agent_slots", state="free") == 4
    assert found.value("weft_agent_connected") == 1
    assert found.value("rpc_server_call_duration_seconds_count", rpc_method=CALL) == 2
    coordinator = await scrape(address_in(mesh.folder / "coordinator.log"))
    assert coordinator.value("weft_balancer_picks_total") == 1
    calls = {"rpc_system_name": "grpc", "rpc_method": CALL, "rpc_response_status_code": "OK"}
    assert coordinator.value("rpc_client_call_duration_seconds_count", **calls) == 1
    assert coordinator.value("weft_balancer_endpoints", state="available") == 1


def _check_form(found: Scraped) -> None:
    for name, family in found.families.items():
        assert family.documentation.endswith("."), name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
        assert not family.unit or name.endswith(family.unit), name
        assert not re.search(r"_(ms|us|percent|kb|mb|total)$", name), name
        if family.type == "histogram":
            assert name.endswith(_UNITS) or family.unit == "", name


def test_the_table_has_every_metric() -> None:
    assert metrics_table.PAGE.read_text() == metrics_table.page(), "run `make settings`"


async def test_an_address_in_use_is_said(mesh: MeshHarness) -> None:
    await mesh.coordinator(metrics="127.0.0.1:0")
    taken = address_in(mesh.folder / "coordinator.log")
    process = Process.weft(
        "second",
        "coordinator",
        *("--listen", "127.0.0.1:0", "--store", str(mesh.folder / "second.db"), "--metrics", taken),
        log=mesh.folder / "second.log",
    )
    mesh.others.append(process)
    assert await process.wait(timeout_s=20) == 1
    assert f"cannot serve metrics on {taken}: it is in use by another process" in process.output()
    assert "Traceback" not in process.output()


async def test_peers_that_say_nothing_do_not_hold_it_up(mesh: MeshHarness) -> None:
    await mesh.coordinator(metrics="127.0.0.1:0")
    address = address_in(mesh.folder / "coordinator.log")
    host, port = address.split(":")
    silent = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
    assert (await scrape(address)).value("weft_store_writable") == 1
    _, writer = silent[0]
    writer.write(b"GET /other HTTP/1.0\r\n\r\n")
    assert b"404" in await silent[0][0].readline()
    for _, each in silent:
        each.close()


async def test_a_sidecar_has_metrics_before_its_app_is_there(mesh: MeshHarness) -> None:
    await mesh.coordinator()
    process = Process.weft(
        "sidecar",
        "agent",
        *("--app", "127.0.0.1:1", "--egress", f"unix:{mesh.folder}/egress/s", "--target", mesh.target),
        *("--metrics", "127.0.0.1:0"),
        log=mesh.folder / "sidecar.log",
    )
    mesh.others.append(process)
    await until(lambda: "egress.opened" in process.output() or not process.alive, "the egress is open")
    found = await scrape(address_in(mesh.folder / "sidecar.log"))
    assert {prometheus_name(spec) for spec in SIDECAR_METRICS} <= found.families.keys()
