"""Containers and pods, from servers that follow the published APIs of Docker and Kubernetes: no engine and no cluster is here."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from tests.support.docker_engine import DockerEngineDouble
from tests.support.kubernetes_api import KubernetesApiDouble
from weft.services.hardware import container_view, pod_view
from weft.services.hardware.container_view import list_containers, usage_of
from weft.services.hardware.outside import OutsideError
from weft.services.hardware.pod_view import list_pods
from weft.services.hardware.v1 import hardware_pb2

# What an engine of version 20.10 with cgroups of version 2 answers, without what is not read.
STATS = {
    "cpu_stats": {
        "cpu_usage": {"total_usage": 5_000_000_000},
        "system_cpu_usage": 100_000_000_000,
        "online_cpus": 4,
    },
    "precpu_stats": {"cpu_usage": {"total_usage": 4_000_000_000}, "system_cpu_usage": 92_000_000_000},
    "memory_stats": {"usage": 3000, "limit": 9000, "stats": {"inactive_file": 1000}},
    "pids_stats": {"current": 12},
}


@pytest_asyncio.fixture
async def engine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DockerEngineDouble]:
    async with DockerEngineDouble() as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.url)
        yield engine


@pytest_asyncio.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[KubernetesApiDouble]:
    async with KubernetesApiDouble() as cluster:
        cluster.write_config(tmp_path / "config")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        # The library chose the file when it was imported.
        monkeypatch.setattr(
            "kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config")
        )
        yield cluster


def container(name: str, state: str = "running") -> dict[str, Any]:
    return {
        "Id": f"{name:x>64}",
        "Names": [f"/{name}"],
        "Image": "postgres:17",
        "Labels": {"secret": "hunter2"},
        "Env": ["PASSWORD=hunter2"],
        "Command": "serve --password hunter2",
        "State": state,
        "Status": "Up 3 hours",
        "Created": 1_700_000_000,
    }


async def test_containers(engine: DockerEngineDouble) -> None:
    for each in (container("db"), container("app"), container("old", "exited")):
        engine.containers[each["Id"]] = each
    engine.stats[container("db")["Id"]] = STATS
    found = await list_containers(every=False, usage=True)
    assert [each.name for each in found.containers] == ["app", "db"]
    app, db = found.containers
    # The engine does not tell it, or it has just ended.
    assert not app.HasField("usage")
    assert db.usage == hardware_pb2.ContainerUsage(
        cpu_cores=0.5, memory_bytes=2000, memory_limit_bytes=9000, tasks=12
    )
    assert (db.image, db.status, db.created_at.seconds) == ("postgres:17", "Up 3 hours", 1_700_000_000)
    assert b"hunter2" not in found.SerializeToString()

    every = await list_containers(every=True, usage=False)
    assert [each.state for each in every.containers] == ["running", "running", "exited"]
    assert not any(each.HasField("usage") for each in every.containers)


async def test_so_many_containers_and_no_more(
    engine: DockerEngineDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_view, "MOST", 3)
    for number in range(5):
        each = container(f"c{number}")
        engine.containers[each["Id"]] = each
    found = await list_containers(every=False, usage=False)
    assert (len(found.containers), found.left_out) == (3, 2)


async def test_no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(OutsideError, match=r"the Docker engine at unix:.* gives no answer") as raised:
        await list_containers(every=False, usage=False)
    assert raised.value.code == grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize("answer", [b"[{}]", b"not JSON", b"", b'[{"Id": 5, "Names": null}]'])
async def test_an_engine_that_answers_anything(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{host}:{port}")
        with pytest.raises(OutsideError) as raised:
            await list_containers(every=True, usage=True)
        assert raised.value.code == grpc.StatusCode.FAILED_PRECONDITION


async def test_an_engine_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_view, "_LIST_S", 0.2)
    ended = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{host}:{port}")
        with pytest.raises(OutsideError, match="it took too long"):
            await list_containers(every=False, usage=False)
        ended.set()


def test_a_container_that_has_used_nothing() -> None:
    stats = STATS | {"precpu_stats": STATS["cpu_stats"]}
    assert usage_of(stats).cpu_cores == 0


def pod(name: str, space: str = "default", node: str = "n1") -> dict[str, Any]:
    resources = {"limits": {"cpu": "500m", "memory": "512Mi"}}
    env = [{"name": "PASSWORD", "value": "hunter2"}]
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    status = {"name": "app", "ready": False, "restartCount": 7, "state": waiting}
    return {
        "metadata": {"name": name, "namespace": space, "labels": {}, "annotations": {"a": "hunter2"}},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "app", "image": "acme/app:1", "resources": resources, "env": env}],
        },
        "status": {
            "phase": "Running",
            "startTime": "2026-01-02T03:04:05Z",
            "containerStatuses": [status | {"image": "i", "imageID": "i"}],
        },
    }


async def test_pods(cluster: KubernetesApiDouble) -> None:
    cluster.pods = {
        each["metadata"]["name"]: each for each in (pod("a"), pod("b", node="n2"), pod("c", "other"))
    }
    cluster.pods["d"] = {
        "metadata": {"name": "d", "namespace": "default", "labels": {}},
        "spec": {"containers": [{"name": "app"}]},
        "status": {"phase": "Pending"},
    }
    found = await list_pods(hardware_pb2.ListPodsRequest())
    assert [each.name for each in found.pods] == ["a", "b", "c", "d"]
    first = found.pods[0]
    assert (first.namespace, first.node, first.phase) == ("default", "n1", "Running")
    assert first.started_at.ToJsonString() == "2026-01-02T03:04:05Z"
    (app,) = first.containers
    assert (app.state, app.reason, app.restarts, app.ready) == ("waiting", "CrashLoopBackOff", 7, False)
    assert (app.image, app.cpu_limit, app.memory_limit) == ("acme/app:1", "500m", "512Mi")
    assert b"hunter2" not in found.SerializeToString()
    pending = found.pods[3]
    assert (pending.node, pending.HasField("started_at"), pending.containers[0].state) == ("", False, "")

    on_node = await list_pods(hardware_pb2.ListPodsRequest(namespace="default", node="n2"))
    assert [each.name for each in on_node.pods] == ["b"]
    page = await list_pods(hardware_pb2.ListPodsRequest(page_size=3))
    rest = await list_pods(hardware_pb2.ListPodsRequest(page_size=3, page_token=page.next_page_token))
    assert [len(page.pods), [each.name for each in rest.pods], rest.next_page_token] == [3, ["d"], ""]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, grpc.StatusCode.PERMISSION_DENIED),
        (410, grpc.StatusCode.INVALID_ARGUMENT),
        (503, grpc.StatusCode.FAILED_PRECONDITION),
    ],
)
async def test_a_cluster_that_refuses(
    cluster: KubernetesApiDouble, status: int, code: grpc.StatusCode
) -> None:
    cluster.refuses = status
    with pytest.raises(OutsideError, match=f"the cluster answered {status}") as raised:
        await list_pods(hardware_pb2.ListPodsRequest())
    assert raised.value.code == code


async def test_no_cluster(cluster: KubernetesApiDouble, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("{}")
    with pytest.raises(OutsideError, match="KUBECONFIG leads to none") as raised:
        await list_pods(hardware_pb2.ListPodsRequest())
    assert raised.value.code == grpc.StatusCode.FAILED_PRECONDITION


async def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiodocker", None)
    monkeypatch.setitem(sys.modules, "kubernetes_asyncio", None)
    with pytest.raises(OutsideError, match="needs the package aiodocker for this: pip install '"):
        await list_containers(every=False, usage=False)
    with pytest.raises(OutsideError, match="needs the package kubernetes-asyncio") as raised:
        await list_pods(hardware_pb2.ListPodsRequest())
    assert raised.value.code == grpc.StatusCode.FAILED_PRECONDITION


def test_views_have_deadlines() -> None:
    assert container_view._LIST_S + container_view._USAGE_S < 60
    assert pod_view._ANSWER_S < 60
