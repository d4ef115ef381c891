"""deploy/observability/collector.yaml by a real collector: metrics to a real Prometheus, traces and logs to receivers; and Promtail's expressions."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from probe.v1.probe_pb2 import ProbeRequest
from scripts import metrics_table
from tests.support import observability
from tests.support.beside import free_address
from tests.support.collector import GoCollector
from tests.support.languages import run
from tests.support.mesh import MeshHarness
from tests.support.otlp_receiver import otlp_receiver
from tests.support.processes import Process
from tests.support.prometheus import prometheus
from weft.rpc.telemetry.exposition import sample_name

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CONFIG = observability.FOLDER / "collector.yaml"
PROMTAIL = observability.FOLDER / "loki" / "promtail.yaml"
LABELS = {"service.name", "level", "event"}
_TASK = ("task_id", "attempt", "method", "agent_id")
# Of what Prometheus makes of an OTLP resource itself, and of the SDK's own.
NOT_OURS = re.compile(r"target_info|otel_sdk_.*|process_uptime_seconds")


class Line:
    """A line of a log, as Loki would get it."""

    def __init__(self, resource: Any, record: Any) -> None:
        self.labels = _texts(resource.attributes)
        self.fields = _texts(record.attributes)
        self.body = record.body.string_value
        self.trace_id = record.trace_id.hex()
        self.severity = record.severity_number
        self.at_ns = record.time_unix_nano


def _texts(pairs: Any) -> dict[str, str]:
    values = {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs
    }
    # The collector reads JSON's numbers as floats.
    return {key: f"{value:g}" if isinstance(value, float) else str(value) for key, value in values.items()}


@contextlib.contextmanager
def loki() -> Iterator[tuple[str, list[Line]]]:
    """In Loki's place: its endpoint for OTLP, and what came."""
    lines: list[Line] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/otlp/v1/logs"
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            for group in ExportLogsServiceRequest.FromString(body).resource_logs:
                for scope in group.scope_logs:
                    lines.extend(Line(group.resource, record) for record in scope.log_records)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportLogsServiceResponse().SerializeToString())

        def log_request(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/otlp", lines
    finally:
        server.shutdown()
        server.server_close()


async def test_what_processes_send_arrives(tmp_path: Path, mesh: MeshHarness) -> None:
    build = GoCollector().built / "collector"
    run([str(build), "validate", f"--config=file:{CONFIG}"], tmp_path, 60)
    rules = observability.RULES.parent / "prometheus.yaml"
    own = observability.read(rules) | {"scrape_configs": [], "rule_files": []}
    (tmp_path / "prometheus.yaml").write_text(json.dumps(own))
    async with prometheus(tmp_path, tmp_path / "prometheus.yaml") as found:
        with otlp_receiver() as jaeger, loki() as (logs, lines):
            otlp = free_address()
            config = observability.read(CONFIG)
            config["receivers"]["otlp"]["protocols"] = {"grpc": {"endpoint": otlp}}
            config["receivers"]["filelog/coordinator"]["include"] = [f"{mesh.folder}/coordinator*.log"]
            config["receivers"]["filelog/agent"]["include"] = [f"{mesh.folder}/agent*.log"]
            config["exporters"]["otlphttp/prometheus"]["endpoint"] = f"http://{found.address}/api/v1/otlp"
            config["exporters"]["otlp/jaeger"]["endpoint"] = jaeger.grpc_endpoint.removeprefix("http://")
            config["exporters"]["otlphttp/loki"]["endpoint"] = logs
            config["service"]["telemetry"] = {"metrics": {"level": "none"}}
            path = tmp_path / "collector.yaml"
            path.write_text(json.dumps(config))
            process = Process(
                "collector", [str(build), f"--config=file:{path}"], log=tmp_path / "collector.log"
            )
            mesh.others.append(process)
            await _work(
                mesh, {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{otlp}", "OTEL_METRIC_EXPORT_INTERVAL": "500"}
            )

            async def all_there() -> bool:
                assert process.alive, process.output()
                counted = await found.query(
                    'weft_tasks_ended_total{job="weft-coordinator",outcome="failed"} == 1'
                )
                at_agent = await found.query(
                    'weft_agent_attempts_ended_total{job="weft-agent",reason="succeeded"} == 5'
                )
                services = {span.service for span in jaeger.spans}
                return (
                    bool(counted and at_agent)
                    and services == {"weft-coordinator", "weft-agent"}
                    and any(line.labels.get("event") == "handler.failed" for line in lines)
                    and any(line.body == "a print" for line in lines)
                )

            await mesh.eventually(all_there, "metrics, traces and logs have arrived", timeout_s=90)
            series = await found.query('count by (__name__) ({job=~"weft-.*"})')
            (up,) = await found.query("weft_agent_connected")
    names = {each["metric"]["__name__"] for each in series}
    known = {sample_name(spec) for specs in metrics_table.GROUPS.values() for spec in specs}
    assert {
        name for name in names if not NOT_OURS.fullmatch(name) and _family(name, known) not in known
    } == set()
    assert len(names & known) > 30
    assert (up["metric"]["job"], up["metric"]["instance"]) == ("weft-agent", "agent-1")
    _check_lines(lines, {span.trace_id for span in jaeger.spans})


def _family(name: str, known: set[str]) -> str:
    return name if name in known else re.sub(r"_(bucket|count|sum)$", "", name)


async def _work(mesh: MeshHarness, env: dict[str, str]) -> None:
    mesh.env = env
    await mesh.coordinator()
    await mesh.agent("agent-1", env=env)
    with (mesh.folder / "agent-1.log").open("a") as log:
        log.write("a print\n")
    trace = (("traceparent", f"00-{'7' * 32}-{'1' * 16}-01"),)
    for _ in range(5):
        await mesh.probe().Call(ProbeRequest(text="x"), timeout=60, metadata=trace)
    with pytest.raises(grpc.aio.AioRpcError):
        await mesh.probe().Call(ProbeRequest(raise_text="no"), timeout=60, metadata=trace)


def _check_lines(lines: list[Line], traces: set[str]) -> None:
    assert {line.labels["service.name"] for line in lines} == {"weft-coordinator", "weft-agent"}
    assert all(line.labels.keys() <= LABELS for line in lines)
    (failed,) = (line for line in lines if line.labels.get("event") == "handler.failed")
    assert failed.labels == {"service.name": "weft-agent", "level": "error", "event": "handler.failed"}
    assert failed.fields["method"] == "probe.v1.ProbeService/Call"
    assert failed.fields["agent_id"] == "agent-1"
    assert failed.fields["task_id"]
    # Of OpenTelemetry: ERROR.
    assert failed.severity == 17
    assert failed.at_ns > 0
    assert failed.trace_id in traces
    (printed,) = (line for line in lines if line.body == "a print")
    assert printed.labels == {"service.name": "weft-agent"}
    # Promtail makes the same of the same lines.
    for line in lines:
        labels, metadata = _by_promtail(line.body)
        assert labels == {key: value for key, value in line.labels.items() if key != "service.name"}
        assert metadata.pop("trace_id", "") == line.trace_id
        metadata.pop("span_id", None)
        assert metadata == {key: line.fields[key] for key in _TASK if key in line.fields}


def _by_promtail(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """The labels and the structured metadata of a line, by the expressions of promtail.yaml."""
    first, second = observability.read(PROMTAIL)["scrape_configs"]
    stages = {name: stage for each in first["pipeline_stages"] for name, stage in each.items()}
    assert first["pipeline_stages"] == second["pipeline_stages"]
    try:
        line = json.loads(text)
    except ValueError:
        line = {}
    # An expression is the name of a field.
    found = {name: str(line[field]) for name, field in stages["json"]["expressions"].items() if field in line}
    if named := re.match(stages["regex"]["expression"], found.get(stages["regex"]["source"], "")):
        found |= named.groupdict()
    labels = {label: found[source] for label, source in stages["labels"].items() if source in found}
    metadata = {
        name: found[source] for name, source in stages["structured_metadata"].items() if source in found
    }
    return labels, metadata
