"""Metrics by OTLP, from real processes to a real receiver; and a process that cannot export."""

from __future__ import annotations

import asyncio
import importlib
import json
import pkgutil
import sys

import opentelemetry.semconv._incubating.metrics as published

from probe.v1.probe_pb2 import ProbeRequest
from tests.support.mesh import MeshHarness
from tests.support.metrics_receiver import Received, metrics_receiver
from weft.rpc.telemetry import attributes

from scripts import metrics_table  # isort: skip

CALL = "probe.v1.ProbeService/Call"
_TRACE = f"00-{'7' * 32}-{'1' * 16}-01"


def _count(found: Received, service: str, name: str, **labels: str) -> float:
    """The value of a counter, or the count of a histogram, with these attributes."""
    metric = found.get((service, name))
    if metric is None:
        return 0
    points = metric.histogram.data_points or metric.sum.data_points or metric.gauge.data_points
    return sum(
        getattr(point, "count", None) or point.as_double
        for point in points
        if labels.items() <= {(pair.key, pair.value.string_value) for pair in point.attributes}
    )


async def test_otlp_has_what_prometheus_has(mesh: MeshHarness) -> None:
    with metrics_receiver() as receiver:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_METRIC_EXPORT_INTERVAL": "200"}
        env |= {"OTEL_TRACES_EXPORTER": "none"}
        mesh.env = env
        await mesh.coordinator()
        await mesh.agent("a1", env=env)
        for _ in range(3):
            await mesh.probe().Call(ProbeRequest(text="x"), timeout=20, metadata=(("traceparent", _TRACE),))

        def complete(found: Received) -> bool:
            ended = _count(found, "weft-coordinator", "weft.tasks.ended", method=CALL, outcome="succeeded")
            ran = _count(found, "weft-agent", "weft.agent.attempts.ended", method=CALL, reason="succeeded")
            return ended == ran == 3

        found = await asyncio.to_thread(receiver.wait, complete)
        assert _count(found, "weft-coordinator", "weft.task.wait.duration", method=CALL) == 3
        wait = found["weft-coordinator", "weft.task.wait.duration"]
        assert (wait.unit, wait.description) == ("s", "How long a ready task waited for its attempt.")
        (point,) = wait.histogram.data_points
        assert sum(point.bucket_counts) == 3
        assert {each.trace_id.hex() for each in point.exemplars} == {"7" * 32}
        assert found["weft-coordinator", "weft.sessions"].gauge.data_points[0].as_double == 1
        assert ("weft-agent", "process.uptime") in found
        specs = {spec.name for group in metrics_table.GROUPS.values() for spec in group}
        assert {name for _, name in found} - specs == {"process.uptime"}
        # The newest values go out at the end.
        await mesh.probe().Call(ProbeRequest(text="x"), timeout=20)
        for process in (mesh.agents["a1"], mesh.coordinator_process):
            assert process is not None
            assert await process.terminate() == 0, process.output()
        last = receiver.metrics
        assert _count(last, "weft-agent", "weft.agent.attempts.ended", method=CALL, reason="succeeded") == 4
        assert _count(last, "weft-coordinator", "weft.tasks.ended", method=CALL, outcome="succeeded") == 4


async def test_nothing_of_the_sdk_is_loaded_unasked() -> None:
    code = (
        "import json, sys, weft.coordinator.coordinator_process, weft.agent, weft.client\n"
        "print(json.dumps([name for name in sys.modules if name.startswith('opentelemetry.sdk')]))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert json.loads(out) == []


def test_names_of_others_are_those_of_the_conventions() -> None:
    names = {
        value
        for module in pkgutil.iter_modules(published.__path__)
        for value in vars(importlib.import_module(f"{published.__name__}.{module.name}")).values()
        if isinstance(value, str)
    }
    specs = [spec for group in metrics_table.GROUPS.values() for spec in group]
    foreign = {spec.name for spec in specs if not spec.name.startswith("weft.")}
    assert foreign
    assert foreign <= names
    assert {spec.labels for spec in specs if spec.name.startswith("rpc.")} == {
        (attributes.RPC_SYSTEM_NAME, attributes.RPC_METHOD, attributes.RPC_RESPONSE_STATUS_CODE)
    }
