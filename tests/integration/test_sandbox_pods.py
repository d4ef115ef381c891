"""The provider `kubernetes` of sandboxes: the suite of all providers, and what can go wrong in a cluster; at a server that follows the published APIs and runs pods by bubblewrap."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from tests.support.box_checks import SMALL, check_box_provider, ran
from tests.support.running_kubernetes import RunningKubernetesDouble
from tests.support.sandboxed import need_bubblewrap
from weft.agent import Sandbox
from weft.services.sandboxes.kubernetes_box import KubernetesBoxProvider
from weft.services.sandboxes.remote_piece import box_variables, first_argv
from weft.services.sandboxes.sandbox_provider import BoxError, ProgramSpec

UNAVAILABLE, REFUSED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION
SPACE = "/api/v1/namespaces/[^/]+"


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningKubernetesDouble]:
    need_bubblewrap()
    async with RunningKubernetesDouble() as double:
        double.write_config(tmp_path / "config")
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.setenv("WEFT_SANDBOXES_KUBERNETES_NAMESPACE", "weft-sandboxes")
        monkeypatch.setattr(
            "kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "config")
        )
        yield double


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[KubernetesBoxProvider]:
    made = KubernetesBoxProvider()
    try:
        yield made
    finally:
        await made.close()


async def refused(sandbox: Sandbox = SMALL) -> BoxError:
    async with provider() as made, asyncio.timeout(20):
        with pytest.raises(BoxError) as error:
            await made.create(sandbox)
    return error.value


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sandbox", "pod"])
async def test_kubernetes(
    kind: str, cluster: RunningKubernetesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEFT_SANDBOXES_KUBERNETES_KIND", kind)
    async with provider() as made:
        await check_box_provider(made)
    assert not cluster.pods
    assert not cluster.resources


async def test_a_pod_works_and_says_so_if_it_is_evicted(cluster: RunningKubernetesDouble) -> None:
    async with provider() as made, asyncio.timeout(30):
        box = await made.create(SMALL)
        assert await ran(box, "sh", "-c", "cat; echo $A; exit 3", given=b"hello ") == (3, b"hello b c\n", b"")
        # Arguments are in a cluster's logs: what is asked, and variables, are none.
        (name,) = cluster.pods
        assert not [each for each in cluster.asked if "hello" in each or "b+c" in each]
        assert "b c" not in str(cluster.made[name])
        program = await box.start(ProgramSpec(["sh", "-c", "echo up; exec sleep 1000"]))
        output = program.output()
        assert await anext(output) == (False, b"up\n")
        await cluster.evict(name)
        assert [each async for each in output] == []
        with pytest.raises(BoxError) as lost:
            await program.wait()
        assert lost.value.code == UNAVAILABLE
        await program.close()
        assert await box.ended == "its pod has ended: Evicted: low on memory"
        assert not cluster.pods
        assert not cluster.resources
        with pytest.raises(BoxError) as gone:
            await ran(box, "true")
        assert gone.value.code == REFUSED


async def test_what_a_pod_is_made_with(
    cluster: RunningKubernetesDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "namespace"
    monkeypatch.setattr("weft.services.sandboxes.kubernetes_cluster._OWN_NAMESPACE", own)
    for name, text in (("OWNER_POD", "agent-0"), ("OWNER_UID", "u-1"), ("RUNTIME_CLASS", "gvisor")):
        monkeypatch.setenv(f"WEFT_SANDBOXES_KUBERNETES_{name}", text)
    monkeypatch.setenv("WEFT_SANDBOXES_KUBERNETES_READY_S", "0.2")
    cluster.waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    # An owner elsewhere is none: the cluster would remove the sandbox.
    own.write_text("weft\n", encoding="utf-8")
    assert "must be in the same namespace" in (await refused()).message
    own.write_text("weft-sandboxes\n", encoding="utf-8")
    error = await refused()
    assert error.code == UNAVAILABLE
    assert "not ready within 0.2 s" in error.message
    assert "ImagePullBackOff: no such image" in error.message
    # Nothing is left of it.
    assert not cluster.pods
    assert not cluster.resources
    (pod,) = cluster.made.values()
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    labels = {"weft.dev/sandbox": "true", "weft.dev/sandbox-network": "none"}
    assert pod["metadata"]["labels"] == labels | {"app.kubernetes.io/managed-by": "weft"}
    assert spec["restartPolicy"] == "Never"
    assert spec["activeDeadlineSeconds"] == 86400
    assert spec["automountServiceAccountToken"] is False
    assert spec["runtimeClassName"] == "gvisor"
    who = spec["securityContext"]
    assert (who["runAsNonRoot"], who["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert who["runAsUser"] == who["runAsGroup"] == who["fsGroup"] >= 1_000_000_000
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"] == {"memory": "64Mi", "cpu": "1000m"}
    sizes = {each["name"]: each["emptyDir"]["sizeLimit"] for each in spec["volumes"]}
    assert sizes == {"work": "4Mi", "tmp": "4Mi", "shared": "16Mi"}
    (resource,) = cluster.posted
    assert (resource["kind"], resource["spec"]["shutdownPolicy"]) == ("Sandbox", "Delete")
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "agent-0", "uid": "u-1"}
    assert resource["metadata"]["ownerReferences"] == [owner]


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "words"),
    [
        ("POST", "/sandboxes$", 403, REFUSED, "deploy/kubernetes/sandboxes.yaml"),
        ("POST", "/sandboxes$", 409, REFUSED, "answers 409"),
        ("POST", "/sandboxes$", 429, UNAVAILABLE, "answers 429"),
        ("GET", "/apis/agents", 500, UNAVAILABLE, "answers 500"),
        ("GET", "/apis/agents", 404, REFUSED, "WEFT_SANDBOXES_KUBERNETES_KIND=pod"),
        ("GET", "/networkpolicies/", 404, REFUSED, "has no NetworkPolicy weft-sandbox-no-network"),
        ("GET", f"{SPACE}/pods/[^/]+$", 503, UNAVAILABLE, "answers 503"),
    ],
)
async def test_what_a_cluster_refuses_is_said(
    method: str, path: str, status: int, code: grpc.StatusCode, words: str, cluster: RunningKubernetesDouble
) -> None:
    cluster.waiting = {"reason": "ContainerCreating"}
    cluster.answers[method, path] = status
    error = await refused()
    assert (error.code, words in error.message) == (code, True), error.message
    assert not cluster.resources


async def test_a_pod_that_cannot_start_is_not_waited_for(cluster: RunningKubernetesDouble) -> None:
    cluster.waiting = {"reason": "InvalidImageName", "message": "x y"}
    error = await refused()
    assert (error.code, "InvalidImageName: x y" in error.message) == (REFUSED, True)
    cluster.policies = {}
    # A policy is of those without network alone.
    assert "InvalidImageName" in (await refused(Sandbox(network=True))).message
    error = await refused(Sandbox(readable=("/opt",)))
    assert error.code == grpc.StatusCode.UNIMPLEMENTED
    # What needs no waiting is given up, and removed, when nobody waits for it any more.
    cluster.policies, cluster.waiting = cluster.all_policies, {"reason": "ContainerCreating"}
    async with provider() as made:
        creating = asyncio.ensure_future(made.create(SMALL))
        async with asyncio.timeout(10):
            while not cluster.pods:
                await asyncio.sleep(0.01)
        creating.cancel()
        await asyncio.wait({creating})
        assert creating.cancelled()
    assert not cluster.pods


async def test_a_cluster_that_is_away_or_silent_or_none(
    cluster: RunningKubernetesDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.silent = True
    with monkeypatch.context() as patched:
        patched.setattr("weft.services.sandboxes.kubernetes_cluster._CALL_S", 0.2)
        error = await refused()
    assert (error.code, error.message) == (UNAVAILABLE, "the Kubernetes API does not answer in time")
    config = (tmp_path / "config").read_text(encoding="utf-8")
    (tmp_path / "config").write_text(config.replace(cluster.address, "http://127.0.0.1:1"), encoding="utf-8")
    error = await refused()
    assert (error.code, "cannot be reached" in error.message) == (UNAVAILABLE, True)
    (tmp_path / "config").write_text("{}", encoding="utf-8")
    error = await refused()
    assert (error.code, "KUBECONFIG leads to none" in error.message) == (REFUSED, True)


@pytest.mark.slow
async def test_connections_are_cut(cluster: RunningKubernetesDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.versions = ()
    monkeypatch.setenv("WEFT_SANDBOXES_KUBERNETES_KIND", "auto")
    async with provider() as made, asyncio.timeout(60):
        box = await made.create(SMALL)
        assert not cluster.resources
        (name,) = cluster.pods
        # Of a program, in its output.
        cluster.cut_after = 5000
        with pytest.raises(BoxError) as lost:
            await ran(box, "sh", "-c", "exec 2>&1; yes 123456789 & sleep 1234.5")
        assert lost.value.code == UNAVAILABLE
        cluster.cut_after = 0

        async def left() -> bytes:
            return (await ran(box, "sh", "-c", "cat /proc/[0-9]*/cmdline"))[1]

        while b"1234.5" in await left():
            pass
        # Of process 1: it is made again.
        for _ in range(2):
            attached = len(cluster.sockets[name])
            cluster.cut(name, "attach")
            while not [kind for kind, _ in cluster.sockets[name][attached:] if kind == "attach"]:
                await asyncio.sleep(0.01)
        assert await ran(box, "echo", "still here") == (0, b"still here\n", b"")
        assert not box.ended.done()
        # The cluster refuses to delete it: it has ended all the same, and its programs with it.
        program = await box.start(ProgramSpec(["sleep", "1000"]))
        cluster.answers["DELETE", "/pods/"] = 500
        await box.terminate("enough")
        assert box.ended.result() == "enough"
        assert [each async for each in program.output()] == []
        await program.close()


def test_process_1_ends_when_nobody_writes() -> None:
    variables = {"PATH": os.environ["PATH"], **box_variables()}
    with subprocess.Popen(
        first_argv(1), env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as made:
        assert made.wait(30) == 0
        assert made.stdout is not None
        # It answers the first word alone.
        assert made.stdout.read() == b""


@pytest.mark.slow
async def test_what_a_dead_agent_leaves_is_removed(cluster: RunningKubernetesDouble) -> None:
    dead, kept = KubernetesBoxProvider(), KubernetesBoxProvider()
    async with asyncio.timeout(60):
        box = await dead.create(SMALL)
        (name,) = cluster.pods
        # It is killed: its connections end, and nobody writes, so process 1 ends.
        await dead.close()
        await cluster.end(name)
        while cluster.pods[name]["status"]["phase"] == "Running":
            await asyncio.sleep(0.05)
        assert name in cluster.resources
        other = await kept.create(SMALL)
        while name in cluster.pods or name in cluster.resources:
            await asyncio.sleep(0.02)
        assert cluster.resources
        await other.terminate("enough")
        await kept.close()
        await box.terminate("it is gone")
    assert not cluster.pods
