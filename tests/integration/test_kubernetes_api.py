"""A real API server takes the charts, the manifests and what pools make: without a warning, without a dropped field, with the rights that are needed and no others."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.api_server import ApiServer, Object, Refused
from tests.support.box_checks import SMALL
from tests.support.processes import ROOT
from tests.support.provider_checks import check_provider
from tests.support.provision_requests import rendered, request
from tests.support.weft_chart import CRDS, EVERYTHING, SETS, helm, made
from weft.coordinator.pools.outside.kubernetes_provider import KubernetesProvider
from weft.coordinator.pools.provider import ListedMember, MemberSpec, ProviderSetting
from weft.services.sandboxes.kubernetes_box import KubernetesBoxProvider
from weft.services.sandboxes.sandbox_provider import BoxError
from weft.v1 import pool_pb2

pytestmark = pytest.mark.slow

DEPLOY = ROOT / "deploy"
NUMBERS = itertools.count()
# How schemas of others are kept here, and the groups that they are of.
GROUPS = {
    "external-secrets": "external-secrets.io",
    "gateway": "gateway.networking.k8s.io",
    "keda": "keda.sh",
    "monitoring": "monitoring.coreos.com",
}
KINDS = (
    "ExternalSecret",
    "GRPCRoute",
    "ScaledJob",
    "ScaledObject",
    "ServiceMonitor",
    "TriggerAuthentication",
)
MANIFESTS = (
    "kubernetes/embedded/weft",
    "kubernetes/redis/weft",
    "kubernetes/operator/weft",
    "keda/scaledobject",
    "keda/scaledjob",
    "keda/authentication",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("kubernetes")) as started:
        kinds = {kind.lower(): kind for kind in KINDS}
        for file in sorted(CRDS.iterdir()):
            kind, _, rest = file.stem.partition("-")
            name, _, version = rest.rpartition("-")
            started.define(GROUPS[name], version, kinds[kind], structural(json.loads(file.read_text())))
        yield started


@pytest.fixture
def space(server: ApiServer) -> str:
    """A namespace of the test, whose pods may do as little as can be."""
    name = f"t{next(NUMBERS)}"
    server.make_namespace(name)
    server.warnings.clear()
    return name


def structural(schema: Any) -> Any:
    """A schema as a definition takes it: a field that is not in it is an error there anyway."""
    if isinstance(schema, list):
        return [structural(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = schema.get("additionalProperties") is False
    left_out = {"$comment"} | ({"additionalProperties"} if closed else set())
    found = {key: structural(value) for key, value in schema.items() if key not in left_out}
    if isinstance(types := found.get("type"), list):
        assert sorted(types) == ["integer", "string"]
        del found["type"]
        found["x-kubernetes-int-or-string"] = True
    return found


def differences(written: Any, stored: Any, at: str = "") -> list[str]:
    """Where what is stored is not what was written; defaults may have been added."""
    if isinstance(written, dict) and isinstance(stored, dict):
        return [each for key in written for each in differences(written[key], stored.get(key), f"{at}.{key}")]
    if isinstance(written, list) and isinstance(stored, list) and len(written) == len(stored):
        return [each for i, pair in enumerate(zip(written, stored, strict=True)) for each in differences(*pair, f"{at}[{i}]")]  # fmt: skip
    return [] if written == stored else [f"{at}: {written!r} is stored as {stored!r}"]


def check_taken(server: ApiServer, objects: list[Object], space: str) -> None:
    """Apply all of them, look that they are stored as they were written, and that a second time changes nothing."""
    for each in objects:
        # What is in a namespace can be tried when that is there.
        server.apply(each, space, dry=each["kind"] != "Namespace")
    for each in objects:
        server.apply(each, space)
        stored = server.read(each, space)
        # The server keeps it in the field `data`.
        assert differences({key: value for key, value in each.items() if key != "stringData"}, stored) == []
        again = server.apply(each, space)
        # The server itself writes the status of a definition.
        told = "generation" if each["kind"] == "CustomResourceDefinition" else "resourceVersion"
        assert again["metadata"][told] == stored["metadata"][told], each
    assert server.warnings == []


def placed(given: Object, space: str) -> Object:
    """An object in a namespace, unless it belongs to all of a cluster."""
    if given["kind"] == "CustomResourceDefinition":
        return given
    return given | {"metadata": given["metadata"] | {"namespace": space}}


def check_pods(server: ApiServer, objects: list[Object], space: str) -> int:
    """Let the server admit a pod of each template, as a controller would make it."""
    templates = [found for each in objects for found in pod_templates(each)]
    for number, template in enumerate(templates):
        spec = template["spec"]
        # Of a claim for each pod, which the controller makes.
        mounted = {mount["name"] for each in spec["containers"] for mount in each.get("volumeMounts", ())}
        volumes = spec.get("volumes", [])
        lacks = sorted(mounted - {volume["name"] for volume in volumes})
        volumes += [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in lacks]
        metadata = template.get("metadata", {}) | {"name": f"pod-{number}"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec | {"volumes": volumes}}
        server.apply(pod, space, dry=True)
    assert server.warnings == []
    return len(templates)


def pod_templates(given: Object) -> list[Object]:
    """Those of an object, if it has one."""
    spec = given.get("spec", {})
    found = spec.get("jobTargetRef", spec).get("template")
    return [found] if found else []


@pytest.mark.parametrize("name", SETS)
def test_the_chart_is_taken_and_so_are_its_pods(
    name: str, server: ApiServer, space: str, tmp_path: Path
) -> None:
    objects = [placed(each, space) for each in made(SETS[name], tmp_path).values()]
    check_taken(server, objects, space)
    operators = bool(SETS[name].get("operator"))
    assert check_pods(server, objects, space) == 1 + operators + len(SETS[name].get("pools", ()))


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_manifests_are_taken(name: str, server: ApiServer, space: str) -> None:
    objects = [placed(each, space) for each in yaml.safe_load_all((DEPLOY / f"{name}.yaml").read_text())]
    check_taken(server, objects, space)
    check_pods(server, objects, space)


@pytest.mark.parametrize("kind", ["kubernetes", "helm"])
def test_provisioned_agents_are_taken(kind: str, server: ApiServer, space: str, tmp_path: Path) -> None:
    asked = request(
        kind, "w", target="mesh.example:7700", tls_ca="weft-ca", replicas="3", app_image="acme/app:2"
    )
    text = rendered(asked).text
    if kind == "helm":
        (values := tmp_path / "values.yaml").write_text(text)
        command = [helm(), "template", "w", str(DEPLOY / "helm" / "weft-agent"), "--values", str(values)]
        text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    objects = list(yaml.safe_load_all(text))
    check_taken(server, objects, space)
    assert check_pods(server, objects, space) == 1


def test_a_wrong_field_is_refused(server: ApiServer, space: str) -> None:
    """So that the tests above can fail."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 1, "prot": 2}]},
    }
    with pytest.raises(Refused, match="prot"):
        server.apply(service, space)
    policy = {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": "s"}}
    with pytest.raises(Refused, match="endpoint"):
        server.apply(policy | {"spec": {"selector": {}, "endpoint": []}}, space)


def test_helm_installs_changes_and_removes_it(server: ApiServer, space: str, tmp_path: Path) -> None:
    config = server.write_config(tmp_path / "config")
    # The definition of pools is one for all releases of a cluster.
    given = EVERYTHING | {"operator": EVERYTHING["operator"] | {"crd": False}}
    (values := tmp_path / "values.yaml").write_text(json.dumps(given))

    def run(*words: str) -> str:
        command = [helm(), *words, "--kubeconfig", str(config), "--namespace", space]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    chart = str(DEPLOY / "helm" / "weft")
    run("install", "w", chart)
    # From one store to the other, then a change of every pool.
    run("upgrade", "w", chart, "--values", str(values))
    change = [f"pools[{number}].image=acme/w:2" for number in range(3)]
    run(
        "upgrade", "w", chart, "--values", str(values), *(word for each in change for word in ("--set", each))
    )
    pods = [each["spec"]["template"]["spec"] for each in listed(server, f"{space}/deployments")]
    images = [each["image"] for pod in pods for each in pod["containers"] + pod.get("initContainers", [])]
    assert sorted(images) == ["acme/app:1", *["acme/w:2"] * 3, *["weft-coordinator:0.1.0"] * 2]
    assert listed(server, f"{space}/statefulsets") == []
    run("rollback", "w", "1")
    assert len(listed(server, f"{space}/statefulsets")) == 1
    run("uninstall", "w")
    assert listed(server, f"{space}/statefulsets") == []


def listed(server: ApiServer, path: str) -> list[Object]:
    found: list[Object] = server.request("GET", f"/apis/apps/v1/namespaces/{path}")["items"]
    return found


def test_accounts_have_the_rights_they_need_and_no_others(
    server: ApiServer, space: str, tmp_path: Path
) -> None:
    for each in made(EVERYTHING, tmp_path).values():
        each["metadata"]["namespace"] = space
        server.apply(each, space)
    pods = {(verb, "/pods", "*") for verb in ("create", "list", "delete")}
    assert server.rights(space, "w-coordinator", space) == pods
    assert server.rights(space, "w-coordinator", "default") == set()
    pools = {(verb, "weft.dev/weftagentpools", "*") for verb in ("list", "watch")}
    pools |= {("patch", "weft.dev/weftagentpools/status", "*")}
    deployments = {(verb, "apps/deployments", "*") for verb in ("get", "list", "watch", "create", "patch")}
    lease = {(verb, "coordination.k8s.io/leases", "weft-operator") for verb in ("get", "update")}
    lease |= {("create", "coordination.k8s.io/leases", "*")}
    assert server.rights(space, "w-operator", space) == pools | deployments | lease
    assert server.rights(space, "w-operator", "default") == set()
    # Agents have the account that each namespace has.
    assert server.rights(space, "default", space) == set()


def test_a_coordinator_without_pools_has_no_rights(server: ApiServer, space: str, tmp_path: Path) -> None:
    for each in made({}, tmp_path).values():
        each["metadata"]["namespace"] = space
        server.apply(each, space)
    assert server.rights(space, "w-coordinator", space) == set()


async def test_pools_work_with_the_rights_of_the_chart(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A pool's pods are what its image wants to be, which may be root.
    server.make_namespace("pools", "baseline")
    for each in made({"serviceAccount": {"pools": True}}, tmp_path).values():
        server.apply(each | {"metadata": each["metadata"] | {"namespace": "pools"}})
    lead(server, "pools", "w-coordinator", tmp_path, monkeypatch)
    monkeypatch.setenv("WEFT_POOL_NAMESPACE", "pools")
    setting = ProviderSetting("mesh1234567x")
    path = "/api/v1/namespaces/pools/pods"

    def end(member_id: str, _: ListedMember) -> None:
        (pod,) = server.request("GET", path, labelSelector=f"weft.dev/member={member_id}")["items"]
        ended = {"exitCode": 137, "reason": "OOMKilled"}
        state = {"name": "agent", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
        status = {"phase": "Failed", "containerStatuses": [state | {"state": {"terminated": ended}}]}
        server.request("PUT", f"{path}/{pod['metadata']['name']}/status", pod | {"status": status})

    template = pool_pb2.PoolTemplate(
        provider="kubernetes", image="acme/worker", settings={"cpu": "500m", "service_account": "default"}
    )
    await check_provider(KubernetesProvider(setting), template, end)
    assert server.request("GET", path)["items"] == []
    # Elsewhere it may do nothing, and is told so.
    monkeypatch.setenv("WEFT_POOL_NAMESPACE", "default")
    other = KubernetesProvider(setting)
    with pytest.raises(RuntimeError, match="403 Forbidden"):
        await other.start(MemberSpec("p-one", "p", template, {"WEFT_TARGET": "10.0.0.1:7700"}))
    await other.close()


async def test_sandboxes_are_made_with_the_rights_of_their_manifest(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.make_namespace("weft")
    server.warnings.clear()
    check_taken(
        server, list(yaml.safe_load_all((DEPLOY / "kubernetes" / "sandboxes.yaml").read_text())), "none"
    )
    pods = {(verb, "/pods", "*") for verb in ("create", "get", "list", "delete")}
    programs = {(verb, f"/pods/{name}", "*") for verb in ("get", "create") for name in ("exec", "attach")}
    resources = {(verb, "agents.x-k8s.io/sandboxes", "*") for verb in ("create", "list", "delete")}
    policy = {("get", "networking.k8s.io/networkpolicies", "weft-sandbox-no-network")}
    assert server.rights("weft", "weft-sandboxes", "weft-sandboxes") == pods | programs | resources | policy
    assert server.rights("weft", "weft-sandboxes", "weft") == set()
    lead(server, "weft", "weft-sandboxes", tmp_path, monkeypatch)
    for name, value in (("NAMESPACE", "weft-sandboxes"), ("KIND", "pod"), ("READY_S", "0.2")):
        monkeypatch.setenv(f"WEFT_SANDBOXES_KUBERNETES_{name}", value)
    # The controller that makes it in each namespace is not there.
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    server.apply(account, "weft-sandboxes")
    provider = KubernetesBoxProvider()
    # The level `restricted` of the namespace admits it; nothing runs it here.
    with pytest.raises(BoxError, match=r"not ready within 0\.2 s"):
        await provider.create(SMALL)
    await provider.close()
    assert server.request("GET", "/api/v1/namespaces/weft-sandboxes/pods")["items"] == []


def lead(
    server: ApiServer, namespace: str, account: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let providers find the server, as this account."""
    config = server.write_config(folder / "config", server.token_of(namespace, account), namespace)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
