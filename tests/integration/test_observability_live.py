"""deploy/observability by a real Prometheus: every query of every panel and rule finds data of real meshes, and alerts fire for real faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import observability
from tests.support.beside import free_address
from tests.support.mesh import MeshHarness
from tests.support.processes import ROOT
from tests.support.prometheus import Prometheus, Running, prometheus
from tests.support.redis_server import RedisServer
from tests.support.scraped import address_in
from weft.rpc.process.process_readings import memory_limit
from weft.v1 import coordinator_pb2 as api

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CALL = "probe.v1.ProbeService/Call"
RULES_TEST = ROOT / "tests" / "support" / "rules_test.yaml"
AGENT_METRICS = {"WEFT_AGENT_METRICS": "127.0.0.1:0"}
_NO_RECEIVER = {
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
    "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    "OTEL_METRICS_EXPORTER": "none",
}
# Of hosts that have what this one may lack, and of processes with TLS.
ABSENT = re.compile("hw_gpu_|weft_certificate_" + ("" if memory_limit() is not None else "|weft_cgroup_"))
# Provoked here. The others have promtool's unit tests, and their metrics are looked for.
FIRE = {
    "WeftAgentDisconnected",
    "WeftAgentDown",
    "WeftAgentLost",
    "WeftCoordinatorDown",
    "WeftCrashLoop",
    "WeftFailuresHigh",
    "WeftLogLinesLost",
    "WeftNoAgentForMethod",
    "WeftQueueOld",
    "WeftRetriesHigh",
    "WeftSpansDropped",
    "WeftStoreUnwritable",
}


def test_promtool_accepts_rules_and_configuration(tmp_path: Path) -> None:
    build = Prometheus()
    folder = observability.RULES.parent
    assert "SUCCESS" in build.promtool("check", "rules", str(observability.RULES), folder=tmp_path)
    assert "SUCCESS" in build.promtool("check", "config", str(folder / "prometheus.yaml"), folder=tmp_path)
    assert "SUCCESS" in build.promtool("test", "rules", str(RULES_TEST), folder=tmp_path)


async def test_queries_find_data_and_alerts_fire(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    (tmp_path / "far").mkdir()
    (tmp_path / "near").mkdir()
    async with (
        RedisServer(tmp_path / "redis") as redis,
        MeshHarness(tmp_path / "file") as single,
        MeshHarness(tmp_path / "near") as near,
        MeshHarness(tmp_path / "far") as far,
    ):
        near.store = far.store = redis.url
        meshes = (single, near, far)
        # More calls a second than the harness makes, fewer than `_exceed` does.
        limits = {far: {"caller_calls_per_s": 50}}
        await asyncio.gather(
            *(mesh.coordinator(metrics="127.0.0.1:0", **limits.get(mesh, {})) for mesh in meshes)
        )
        deaf = free_address()
        # It can write no log, and nobody takes its spans.
        single.redirect = "2>/dev/full"
        await asyncio.gather(
            single.agent("s1", env={"WEFT_AGENT_METRICS": deaf, **_NO_RECEIVER}),
            near.agent("a1", env=AGENT_METRICS, program="tests.support.gauging_agent:agent"),
            far.agent("a2", env=AGENT_METRICS),
        )
        # So that each method that is to crash has been seen before it does.
        await asyncio.gather(
            *(mesh.probe().CallIsolated(ProbeRequest(), timeout=60) for mesh in (single, near))
        )
        async with prometheus(tmp_path, _config(tmp_path, meshes, deaf)) as found:
            await _eventually(found, "count(up == 1)", lambda values: values == [6.0])
            await asyncio.gather(_load(single), _load(near))
            await _lose(far)
            await _exceed(far)
            await _eventually(found, "sum(weft_leases_lost_total)", lambda values: values >= [1.0])
            await asyncio.gather(_load(single), _load(near))
            agent = address_in(near.folder / "a1.log")
            await _find_data(found, agent)
            await _kill(single)
            await redis.close()
            await _see_alerts(found)


def _config(folder: Path, meshes: Iterable[MeshHarness], deaf: str) -> Path:
    """The configuration of deploy/observability for these processes: all that takes minutes there takes a second."""
    source = observability.RULES.parent
    config = observability.read(source / "prometheus.yaml")
    logs = {
        "weft-coordinator": [mesh.folder / "coordinator.log" for mesh in meshes],
        "weft-agent": [
            mesh.folder / f"{name}.log" for mesh in meshes for name in mesh.agents if name != "s1"
        ],
    }
    targets = {job: [address_in(log) for log in files] for job, files in logs.items()}
    targets["weft-agent"].append(deaf)
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"] = [
        job | {"static_configs": [{"targets": targets[job["job_name"]]}]} for job in config["scrape_configs"]
    ]
    rules = observability.read(source / "rules.yaml")
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
            if rule.get("alert") == "WeftQueueOld":
                rule["expr"] = rule["expr"].replace("> 300", "> 3")
    (folder / "rules.yaml").write_text(json.dumps(rules))
    path = folder / "prometheus.yaml"
    # JSON is YAML.
    path.write_text(json.dumps(config))
    return path


async def _load(mesh: MeshHarness) -> None:
    """Tasks that succeed, fail, are tried again and crash, direct calls, and one that nobody takes."""
    probe = mesh.probe()
    again = (("weft-retry", "initial_backoff=0.01s"),)
    calls: list[Any] = [probe.Call(ProbeRequest(text="x"), timeout=60) for _ in range(20)]
    calls += [probe.Call(ProbeRequest(fail_code=5), timeout=60) for _ in range(10)]
    calls += [
        probe.Call(ProbeRequest(fail_code=14, fail_attempts=2), timeout=60, metadata=again) for _ in range(10)
    ]
    calls += [probe.CallIsolated(ProbeRequest(crash_attempts=9), timeout=60) for _ in range(3)]
    calls += [probe.Call(ProbeRequest(), timeout=60, metadata=(("weft-mode", "direct"),)) for _ in range(3)]
    queued = api.SubmitTaskRequest(method=CALL)
    queued.options.requirements.labels["zone"] = "nowhere"
    await mesh.api().SubmitTask(queued, timeout=60)
    for call in calls:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await call


async def _lose(mesh: MeshHarness) -> None:
    """Kill the agent a2 while it runs tasks."""
    ledger = mesh.ledger()
    calls = [
        asyncio.ensure_future(
            mesh.probe().Call(ProbeRequest(text="lost", sleep_s=1, ledger=ledger.path), timeout=60)
        )
        for _ in range(8)
    ]
    await ledger.until("start", "lost")
    await mesh.agents["a2"].kill()
    await asyncio.gather(*calls)


async def _exceed(mesh: MeshHarness) -> None:
    """More calls at once than a caller may make in a second."""
    calls = [mesh.api().ListTasks(api.ListTasksRequest(), timeout=60) for _ in range(200)]
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert any(isinstance(end, grpc.aio.AioRpcError) for end in ends)


async def _kill(mesh: MeshHarness) -> None:
    assert mesh.coordinator_process is not None
    await mesh.coordinator_process.kill()


async def _find_data(found: Running, agent: str) -> None:
    """Each query of dashboards and rules has numbers, after the last load at the latest."""
    wanted = {query.place: _filled(query.expr, agent) for query in observability.queries()}
    for rule in observability.rules():
        wanted[rule.name] = rule.left if rule.alert else rule.expr
        if not rule.alert:
            wanted[f"{rule.name}, recorded"] = rule.name
    ends_at = asyncio.get_running_loop().time() + 30
    while True:
        empty = {place: expr for place, expr in wanted.items() if not _numbers(await found.query(expr))}
        missing = {place: expr for place, expr in empty.items() if not ABSENT.search(expr)}
        if not missing:
            break
        assert asyncio.get_running_loop().time() < ends_at, missing
        await asyncio.sleep(1)
    assert len(wanted) > 100


def _filled(expr: str, agent: str) -> str:
    """With what Grafana puts in."""
    return (
        expr.replace("$__rate_interval", "1m")
        .replace("$agent", agent)
        .replace("$method", ".*")
        .replace("$coordinator", ".*")
    )


def _numbers(series: list[dict[str, Any]]) -> list[float]:
    values = [float(each["value"][1]) for each in series]
    return [value for value in values if not math.isnan(value)]


async def _see_alerts(found: Running) -> None:
    fired: dict[str, dict[str, str]] = {}
    ends_at = asyncio.get_running_loop().time() + 60
    while not fired.keys() >= FIRE:
        assert asyncio.get_running_loop().time() < ends_at, (FIRE - fired.keys(), fired)
        await asyncio.sleep(1)
        fired |= await found.firing()
    for name, notes in fired.items():
        assert not re.search(r"%!|<no value>|error|  ", notes["summary"]), (name, notes)


async def _eventually(found: Running, expr: str, is_so: Callable[[list[float]], bool]) -> None:
    ends_at = asyncio.get_running_loop().time() + 60
    while not is_so(values := _numbers(await found.query(expr))):
        assert asyncio.get_running_loop().time() < ends_at, (expr, values, await found.query("up"))
        await asyncio.sleep(0.5)
