"""KEDA's external scaler at real coordinators, asked by a client of KEDA's own contract."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from probe.v1.probe_pb2 import ProbeRequest
from tests.support import tasks
from tests.support.lightweight import ECHO, LightAgent
from tests.support.mesh import MeshHarness
from tests.support.namespaced import Sites, sites_on
from tests.support.processes import until
from tests.support.refusals import check
from weft.coordinator.doors.keda import queue_looks
from weft.keda import externalscaler_pb2 as pb
from weft.keda.externalscaler_pb2_grpc import ExternalScalerStub
from weft.rpc import refusals
from weft.rpc.errors import status_of_call
from weft.v1 import (
    access_pb2,
    coordinator_pb2,
    coordinator_pb2_grpc,
    namespace_pb2,
    namespace_pb2_grpc,
    security_pb2,
    security_pb2_grpc,
)

CALL = tasks.method("Call")
DEFAULTS = {"methods": CALL, "scalerAddress": "here:7700", "tasksPerReplica": "2"}


def ref(**metadata: str) -> pb.ScaledObjectRef:
    return pb.ScaledObjectRef(name="workers", namespace="default", scalerMetadata=DEFAULTS | metadata)


class Keda:
    """What KEDA and the autoscaler do for one ScaledObject: none while it is not active, else as many replicas as the metrics want. A replica is an agent.

    Their formulas: `ceil(value / target)` for a target of the kind AverageValue, the largest over all metrics; at least one while active.
    """

    def __init__(self, mesh: MeshHarness, most: int = 3, **metadata: str) -> None:
        self._mesh = mesh
        self._stub = ExternalScalerStub(mesh.channel())
        self._ref = ref(**metadata)
        self._most = most
        self._started = 0
        self.running: list[str] = []
        self.seen: list[int] = []

    async def wanted(self) -> int:
        if not (await self._stub.IsActive(self._ref, timeout=10)).result:
            return 0
        wanted = 1
        for spec in (await self._stub.GetMetricSpec(self._ref, timeout=10)).metricSpecs:
            asked = pb.GetMetricsRequest(scaledObjectRef=self._ref, metricName=spec.metricName)
            (value,) = (await self._stub.GetMetrics(asked, timeout=10)).metricValues
            wanted = max(wanted, math.ceil(value.metricValueFloat / spec.targetSizeFloat))
        return min(wanted, self._most)

    async def step(self) -> None:
        """One look, and what follows from it."""
        wanted = await self.wanted()
        self.seen.append(wanted)
        while len(self.running) < wanted:
            self._started += 1
            name = f"replica-{self._started}"
            self.running.append(name)
            await self._mesh.agent(name, program=tasks.PLAIN, slots=2)
        while len(self.running) > wanted:
            assert await self._mesh.agents[self.running.pop()].terminate(timeout_s=30) == 0


@pytest.mark.parametrize("store", ["embedded", pytest.param("redis", marks=pytest.mark.slow)])
async def test_agents_come_with_the_work_and_go_with_it(
    mesh: MeshHarness, tmp_path: Path, store: str
) -> None:
    """From zero to the most and back to zero; no task is lost."""
    if store == "redis":
        from tests.support.redis_server import RedisServer

        async with RedisServer(tmp_path / "redis") as server:
            mesh.store = server.url
            await _from_zero_and_back(mesh)
            await mesh.close()
    else:
        await _from_zero_and_back(mesh)


async def _from_zero_and_back(mesh: MeshHarness) -> None:
    await mesh.coordinator(keda="true")
    # The first replica makes the method known.
    first = await mesh.agent("first", program=tasks.PLAIN)
    assert await first.terminate() == 0
    keda = Keda(mesh)
    await keda.step()
    ids = await tasks.submit_all(mesh, [ProbeRequest(text=str(n), sleep_s=0.3) for n in range(10)])
    while not (ended := await _all_ended(mesh, ids)) or keda.running:
        await keda.step()
    assert (keda.seen[0], max(keda.seen), keda.seen[-1]) == (0, 3, 0)
    assert ended
    for task_id in ids:
        task = await tasks.look(mesh, task_id)
        assert (task.attempt, task.crashes) == (1, 0), tasks.describe(task)


async def _all_ended(mesh: MeshHarness, ids: list[str]) -> bool:
    queues = (await mesh.api().ListQueues(coordinator_pb2.ListQueuesRequest(), timeout=10)).queues
    assert ids
    return not any(queue.queued + queue.running for queue in queues)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Sites]:
    async with sites_on("embedded", tmp_path, keda=True, max_watchers=3) as made:
        yield made


async def submit(channel: grpc.aio.Channel, count: int) -> None:
    stub = coordinator_pb2_grpc.CoordinatorServiceStub(channel)
    for _ in range(count):
        await stub.SubmitTask(coordinator_pb2.SubmitTaskRequest(method=ECHO), timeout=10)


async def known(channel: grpc.aio.Channel) -> None:
    """Make the method known: an agent that comes and goes."""
    async with LightAgent(channel, "first"):
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service=ECHO.partition("/")[0]), timeout=20
        )
        while (await watch.read()).status != health_pb2.HealthCheckResponse.SERVING:
            pass
        watch.cancel()


async def test_each_namespace_has_its_own_work(site: Sites) -> None:
    await site.create("team-a")
    await known(site.channel("team-a"))
    await submit(site.channel("team-a"), 3)
    stub = ExternalScalerStub(site.channel())

    async def value(**metadata: str) -> float:
        asked = pb.GetMetricsRequest(scaledObjectRef=ref(methods=ECHO, **metadata), metricName="tasks")
        return (await stub.GetMetrics(asked, timeout=10)).metricValues[0].metricValueFloat

    assert await value(meshNamespace="team-a") == 3
    assert await value() == 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await value(meshNamespace="team-b")
    check(status_of_call(caught.value), grpc.StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND")


async def test_a_stream_ends_with_its_namespace(site: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_looks, "LOOK_S", 0.05)
    await site.create("team-a")
    await known(site.channel("team-a"))
    asked = ref(methods=ECHO, meshNamespace="team-a")
    streams = [ExternalScalerStub(site.channel()).StreamIsActive(asked, timeout=30) for _ in range(2)]
    assert [(await stream.read()).result for stream in streams] == [False] * 2
    deleted = namespace_pb2.DeleteNamespaceRequest(name="team-a", force=True)
    await namespace_pb2_grpc.NamespaceServiceStub(site.channel()).DeleteNamespace(deleted, timeout=10)
    for stream in streams:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        check(status_of_call(caught.value), grpc.StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND")


async def test_a_stream_tells_changes_and_streams_share_their_looks(
    site: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_looks, "LOOK_S", 0.05)
    looked = 0
    mesh = site.coordinators[0].default
    real = mesh.queues

    async def counted() -> Any:
        nonlocal looked
        looked += 1
        return await real()

    monkeypatch.setattr(mesh, "queues", counted)
    await known(site.channel())
    stub = ExternalScalerStub(site.channel())
    asked = ref(methods=ECHO)
    streams = [stub.StreamIsActive(asked, timeout=30) for _ in range(3)]
    assert [(await stream.read()).result for stream in streams] == [False] * 3
    began, loop = looked, asyncio.get_running_loop()
    began_s = loop.time()
    await until(lambda: looked >= began + 8, "it looks again and again")
    # Each pause is at least so long, whatever the machine: more looks would be those of more than one stream.
    assert looked - began <= (loop.time() - began_s) / queue_looks.LOOK_S + 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.StreamIsActive(asked, timeout=10).read()
    check(status_of_call(caught.value), grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")

    await submit(site.channel(), 1)
    assert [(await stream.read()).result for stream in streams] == [True] * 3
    async with LightAgent(site.channel(), "second"):
        assert [(await stream.read()).result for stream in streams] == [False] * 3
    for stream in streams[1:]:
        stream.cancel()
    # As the coordinator's stop does.
    site.coordinators[0]._doors[0].close(refusals.stopping("it stops", retry_after_s=1.0))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await streams[0].read()
    check(status_of_call(caught.value), grpc.StatusCode.UNAVAILABLE, "STOPPING")
    await until(lambda: not site.coordinators[0]._doors[0]._looks._followed, "nothing is followed any more")


@pytest.mark.parametrize("method", ["IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics"])
async def test_a_trigger_that_cannot_be_is_refused(site: Sites, method: str) -> None:
    wrong = ref(methods="nonsense")
    request = (
        pb.GetMetricsRequest(scaledObjectRef=wrong, metricName="tasks") if method == "GetMetrics" else wrong
    )
    call = getattr(ExternalScalerStub(site.channel()), method)(request, timeout=10)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call.read() if method.startswith("Stream") else call)
    check(status_of_call(caught.value), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")


async def test_a_metric_that_there_is_not_and_specs_that_do_not_change(site: Sites) -> None:
    stub = ExternalScalerStub(site.channel())
    asked = pb.GetMetricsRequest(scaledObjectRef=ref(), metricName="oldest-age-seconds")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetMetrics(asked, timeout=10)
    check(status_of_call(caught.value), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    specs = (await stub.GetMetricSpec(ref(ageSecondsPerReplica="30"), timeout=10)).metricSpecs
    assert [(spec.metricName, spec.targetSize, spec.targetSizeFloat) for spec in specs] == [
        ("tasks", 2, 2.0),
        ("oldest-age-seconds", 30, 30.0),
    ]
    # KEDA goes on by GetMetricSpec then.
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.StreamMetricSpec(ref(), timeout=10).read()
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_who_may_ask(tmp_path: Path) -> None:
    """The scope of a token bounds what its holder learns."""
    token_file = tmp_path / "operator.token"
    async with sites_on("embedded", tmp_path, keda=True, tokens="on", operator_token_file=token_file) as site:
        operator = (("weft-token", token_file.read_text().strip()),)
        made = security_pb2_grpc.TokenServiceStub(site.channel())

        async def token(role: access_pb2.Role, *methods: str) -> tuple[tuple[str, str], ...]:
            request = security_pb2.CreateTokenRequest(role=role, scope={"methods": methods})
            return (("weft-token", (await made.CreateToken(request, timeout=10, metadata=operator)).text),)

        stub = ExternalScalerStub(site.channel())
        client = access_pb2.ROLE_CLIENT
        keda = await token(client, "externalscaler.*", CALL)
        assert not (await stub.IsActive(ref(), timeout=10, metadata=keda)).result
        for metadata, code, reason in (
            ((), "UNAUTHENTICATED", "TOKEN_MISSING"),
            (await token(client, CALL), "PERMISSION_DENIED", "OUT_OF_SCOPE"),
            (await token(client, "externalscaler.*"), "PERMISSION_DENIED", "OUT_OF_SCOPE"),
            (await token(access_pb2.ROLE_OBSERVER), "PERMISSION_DENIED", "ROLE_NEEDED"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.IsActive(ref(), timeout=10, metadata=metadata)
            check(status_of_call(caught.value), grpc.StatusCode[code], reason)


async def test_it_is_off_unless_it_is_switched_on(tmp_path: Path) -> None:
    async with sites_on("embedded", tmp_path) as site:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ExternalScalerStub(site.channel()).IsActive(ref(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
