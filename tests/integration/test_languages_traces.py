"""One tree from a caller through a sidecar's app in Go, which knows nothing of traces, to a Python agent; received by OpenTelemetry's own
collector, over gRPC and over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.beside import DIRECT, free_address
from tests.support.collector import Collector, collector
from tests.support.languages import Go
from tests.support.mesh import MeshHarness
from tests.support.metrics_receiver import Received
from tests.support.otlp_receiver import ReceivedSpan, Value
from tests.support.processes import Process
from tests.support.shared_redis import two_coordinators
from tests.support.trace_tree import (
    Caller,
    of_call,
    of_process,
    of_rerun,
    of_submit,
    of_wait,
    told,
)
from weft.rpc.network.channel import client_options, dial
from weft.v1 import coordinator_pb2 as api
from weft.v1 import task_pb2

from scripts import metrics_table  # isort: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STREAM = "probe.v1.ProbeService/Stream"
GREET, CALL = "greeter.v1.GreeterService/Greet", "probe.v1.ProbeService/Call"
# A GreetRequest: its name.
REQUEST = b"\x0a\x03Ada"


def over_grpc(to: Collector) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": to.grpc_endpoint, "OTEL_METRIC_EXPORT_INTERVAL": "500"}


def over_http(to: Collector) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": to.http_endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_METRIC_EXPORT_INTERVAL": "500",
    }


async def test_the_tree_goes_through_an_app_in_go(mesh: MeshHarness, tmp_path: Path) -> None:
    """With a retry, an agent killed in the middle, and two coordinators on Redis."""
    app_address, egress, ledger = free_address(), free_address(), mesh.ledger("tree")
    caller = Caller()
    async with collector(tmp_path) as receiver:
        mesh.env = over_grpc(receiver)
        async with two_coordinators(mesh, tmp_path, over_http(receiver)) as (near, far):
            app = Process("app", Go().passing(app_address, egress, ledger.path), log=tmp_path / "app.log")
            words = ("--app", app_address, "--egress", egress, "--target", near.target, "--id", "side")
            side = Process.weft("side", "agent", *words, log=tmp_path / "side.log", env=over_http(receiver))
            mesh.others += [app, side]
            await mesh.agent("kept", env=over_grpc(receiver))
            await far.wait_serving("greeter.v1.GreeterService")
            async with dial(far.target, options=client_options()) as channel:
                metadata = (*caller.trace, ("weft-retry", "initial_backoff=0.01s"))
                calling = asyncio.ensure_future(
                    channel.unary_unary(f"/{GREET}")(REQUEST, timeout=30, metadata=metadata)
                )
                await ledger.until("start", "t")
                await mesh.agents["kept"].kill()
                await mesh.agent("a1", env=over_grpc(receiver))
                assert b"Hello Ada" in await calling
            await _other_ways(far, receiver)
            spans = await asyncio.to_thread(caller.wait, receiver, 16)
            metrics = await asyncio.to_thread(receiver.wait_metrics, _counted)
    _check_tree(spans, caller.span_id)
    names = {spec.name for group in metrics_table.GROUPS.values() for spec in group}
    assert {name for _, name in metrics} - names == {"process.uptime"}


async def _other_ways(door: MeshHarness, receiver: Collector) -> None:
    """Direct calls, streams, and tasks that are submitted together; the agent is at the other coordinator."""
    direct, durable, streamed, together, alone = (Caller() for _ in range(5))
    await door.probe().Call(ProbeRequest(text="a"), timeout=20, metadata=(*direct.trace, DIRECT))
    for caller, mode in ((durable, ()), (streamed, (DIRECT,))):
        stream = door.probe().Stream(
            ProbeRequest(stream_count=3), timeout=20, metadata=(*caller.trace, *mode)
        )
        assert len([reply async for reply in stream]) == 3
    own = task_pb2.CallContext(traceparent=alone.trace[0][1])
    tasks = [
        api.SubmitTaskRequest(method=CALL, options=task_pb2.TaskOptions(context=context))
        for context in (None, own)
    ]
    message = api.SubmitTasksRequest(tasks=tasks, deliver_results=True)
    async for _ in door.api().SubmitTasks(iter([message]), timeout=20, metadata=together.trace):
        pass
    assert told(await asyncio.to_thread(direct.wait, receiver, 3), direct.span_id) == [
        (f"SERVER {CALL}", of_call(CALL)),
        (f"  CLIENT {CALL}", of_call(CALL)),
        (f"    SERVER {CALL}", of_call(CALL) | {"weft.agent.id": "a1"}),
    ]
    assert told(await asyncio.to_thread(streamed.wait, receiver, 3), streamed.span_id) == [
        (f"SERVER {STREAM}", of_call(STREAM)),
        (f"  CLIENT {STREAM}", of_call(STREAM)),
        (f"    SERVER {STREAM}", of_call(STREAM) | {"weft.agent.id": "a1"}),
    ]
    spans = await asyncio.to_thread(durable.wait, receiver, 4)
    (task_id,) = {str(span.attributes["weft.task.id"]) for span in spans if span.kind == "SERVER"}
    assert told(spans, durable.span_id) == [
        (f"SERVER {STREAM}", of_call(STREAM) | {"weft.task.id": task_id, "events": "weft.result.stored"}),
        (f"  PRODUCER submit {STREAM}", of_submit(STREAM, task_id)),
        (f"    INTERNAL wait {STREAM}", of_wait(STREAM, task_id, "a1")),
        (f"    CONSUMER process {STREAM}", of_process(STREAM, task_id, "a1")),
    ]
    spans = await asyncio.to_thread(together.wait, receiver, 3)
    (batch,) = (span for span in spans if span.kind == "PRODUCER")
    (task_id,) = {str(span.attributes["messaging.message.id"]) for span in spans if span.kind != "PRODUCER"}
    assert told(spans, together.span_id) == [
        (f"PRODUCER submit {CALL}", of_submit(CALL, "") | {"messaging.batch.message_count": 2}),
        (f"  INTERNAL wait {CALL}", of_wait(CALL, task_id, "a1")),
        (f"  CONSUMER process {CALL}", of_process(CALL, task_id, "a1")),
    ]
    spans = await asyncio.to_thread(alone.wait, receiver, 2)
    (task_id,) = {str(span.attributes["messaging.message.id"]) for span in spans}
    assert told(spans, alone.span_id) == [
        (f"INTERNAL wait {CALL}", of_wait(CALL, task_id, "a1")),
        (f"CONSUMER process {CALL}", of_process(CALL, task_id, "a1")),
    ]
    assert [span.links for span in spans] == 2 * [[(batch.trace_id, batch.span_id)]]


def _counted(metrics: Received) -> bool:
    """Whether each process has told of its part. Each kind of process has one that sends over gRPC, and one over HTTP."""
    ended = metrics.get(("weft-agent", "weft.agent.attempts.ended"))
    calls = metrics.get(("weft-coordinator", "rpc.server.call.duration"))
    return ended is not None and calls is not None and len(calls.histogram.data_points) > 0


def _check_tree(spans: list[ReceivedSpan], root: str) -> None:
    ids = {
        span.name: str(span.attributes["messaging.message.id"]) for span in spans if span.kind == "PRODUCER"
    }
    outer, inner = ids[f"submit {GREET}"], ids[f"submit {CALL}"]
    failed, lost = of_rerun("failed", "side", "UNAVAILABLE"), of_rerun("lost", "kept")
    fault: dict[str, Value] = {"error.type": "UNAVAILABLE", "error": "not yet"}
    died: dict[str, Value] = {"error.type": "agent_lost", "error": "the agent was lost"}
    assert told(spans, root) == [
        (f"SERVER {GREET}", of_call(GREET) | {"weft.task.id": outer, "events": "weft.result.stored"}),
        (f"  PRODUCER submit {GREET}", of_submit(GREET, outer)),
        (f"    INTERNAL wait {GREET}", of_wait(GREET, outer, "side")),
        (f"    CONSUMER process {GREET}", of_process(GREET, outer, "side", code="UNAVAILABLE") | fault),
        (f"      CLIENT {GREET}", of_call(GREET, "UNAVAILABLE") | fault),
        (f"    INTERNAL wait {GREET}", of_wait(GREET, outer, "side", 2) | failed),
        (f"    CONSUMER process {GREET}", of_process(GREET, outer, "side", 2) | failed),
        (f"      CLIENT {GREET}", of_call(GREET)),
        (f"        SERVER {CALL}", of_call(CALL)),
        (f"          CLIENT {CALL}", of_call(CALL)),
        (
            f"            SERVER {CALL}",
            of_call(CALL) | {"weft.task.id": inner, "events": "weft.result.stored"},
        ),
        (f"              PRODUCER submit {CALL}", of_submit(CALL, inner)),
        (f"                INTERNAL wait {CALL}", of_wait(CALL, inner, "kept")),
        # The coordinator tells of the attempt whose agent it lost.
        (f"                CONSUMER process {CALL}", _without_code(of_process(CALL, inner, "kept")) | died),
        (f"                INTERNAL wait {CALL}", of_wait(CALL, inner, "a1", 2) | lost),
        (f"                CONSUMER process {CALL}", of_process(CALL, inner, "a1", 2) | lost),
    ]
    by_service = {
        (span.service, span.process["service.instance.id"]) for span in spans if span.service == "weft-agent"
    }
    assert by_service == {("weft-agent", "side"), ("weft-agent", "a1")}
    assert {span.trace_state for span in spans} == {"vendor=x"}


def _without_code(about: dict[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in about.items() if name != "rpc.response.status_code"}
