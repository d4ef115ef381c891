"""The chart of a whole mesh: what its values make, by a real helm, and that Kubernetes and the operators beside it take it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from scripts import kubernetes_manifests, settings_table
from tests.support.beside import free_address
from tests.support.processes import ROOT, Process, environment, until
from tests.support.weft_chart import (
    CRDS,
    EVERYTHING,
    REDIS,
    SETS,
    VERSIONS,
    Made,
    helm,
    made,
    template,
)
from weft.agent.settings import AgentSettings
from weft.coordinator.settings import CoordinatorSettings

CHART = kubernetes_manifests.CHART
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())


def check_object(each: dict[str, Any]) -> None:
    """Check an object by the schemas of Kubernetes, or by that of its operator."""
    group, _, version = each["apiVersion"].rpartition("/")
    own = CRDS / f"{each['kind'].lower()}-{group.split('.')[0]}-{version}.json"
    if own.exists():
        jsonschema.validate(each, json.loads(own.read_text()))
        return
    for kubernetes in VERSIONS:
        kubernetes_validate.validate(each, kubernetes, strict=True)


def container(made: Made, kind: str, name: str, which: str = "containers") -> dict[str, Any]:
    (found,) = made[kind, name]["spec"]["template"]["spec"][which]
    assert isinstance(found, dict)
    return found


def variables(container: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_kubernetes_takes_all_of_it(values: dict[str, Any], tmp_path: Path) -> None:
    for each in made(values, tmp_path).values():
        check_object(each)
        assert each["metadata"]["labels"]["app.kubernetes.io/instance"] == "w"


def test_selectors_choose_the_pods_that_are_meant(tmp_path: Path) -> None:
    objects = made(EVERYTHING, tmp_path)
    pods = {
        name: each["spec"]["template"]["metadata"]["labels"]
        for (kind, name), each in objects.items()
        if kind == "Deployment"
    }

    def chosen(selector: dict[str, str]) -> set[str]:
        return {name for name, labels in pods.items() if selector.items() <= labels.items()}

    agents = {"w-plain", "w-side", "w-zero"}
    for name in pods:
        assert chosen(objects["Deployment", name]["spec"]["selector"]["matchLabels"]) == {name}
    for name in ("w", "w-each"):
        assert chosen(objects["Service", name]["spec"]["selector"]) == {"w-coordinator"}
    policy = objects["NetworkPolicy", "w-coordinator"]["spec"]
    assert chosen(policy["podSelector"]["matchLabels"]) == {"w-coordinator"}
    assert chosen(policy["ingress"][0]["from"][0]["podSelector"]["matchLabels"]) == agents
    assert chosen(objects["NetworkPolicy", "w-agent"]["spec"]["podSelector"]["matchLabels"]) == agents
    assert chosen(objects["PodDisruptionBudget", "w-coordinator"]["spec"]["selector"]["matchLabels"]) == {
        "w-coordinator"
    }


def test_one_coordinator_owns_an_embedded_store(tmp_path: Path) -> None:
    objects = made({"coordinator": {"replicas": 5}}, tmp_path)
    spec = objects["StatefulSet", "w-coordinator"]["spec"]
    assert spec["replicas"] == 1
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    one = container(objects, "StatefulSet", "w-coordinator")
    assert variables(one)["WEFT_STORE"].startswith("/var/lib/weft/")
    assert "WEFT_DRAIN_S" not in variables(one)
    assert {mount["name"]: mount["mountPath"] for mount in one["volumeMounts"]}["data"] == "/var/lib/weft"
    assert one["readinessProbe"]["grpc"] == {"port": 7700, "service": "weft.v1.CoordinatorService"}
    assert not any(kind in ("Deployment", "PodDisruptionBudget", "Role") for kind, _ in objects)


def test_coordinators_on_a_redis_are_replaced_one_after_another(tmp_path: Path) -> None:
    objects = made(REDIS, tmp_path)
    spec = objects["Deployment", "w-coordinator"]["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    pod = spec["template"]["spec"]
    assert len(pod["topologySpreadConstraints"]) == 2
    one = container(objects, "Deployment", "w-coordinator")
    assert variables(one)["WEFT_STORE"] == {"secretKeyRef": {"name": "weft-redis", "key": "url"}}
    # Callers have moved before it is stopped, and it is stopped before it would be killed. gRPC varies the age by a tenth.
    drain_s = float(variables(one)["WEFT_DRAIN_S"])
    assert drain_s > float(variables(one)["WEFT_CONNECTION_AGE_S"]) * 1.1
    stop_s = CoordinatorSettings.model_fields["stop_grace_s"].default
    sleep_s = one["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > sleep_s + drain_s + stop_s
    assert objects["Service", "w-each"]["spec"]["clusterIP"] == "None"


def test_a_native_sidecar_starts_first_and_ends_last(tmp_path: Path) -> None:
    objects = made(EVERYTHING, tmp_path)
    sidecar = container(objects, "Deployment", "w-side", "initContainers")
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["args"] == ["agent", "--app", "127.0.0.1:9000", "--egress", "127.0.0.1:7701"]
    app = container(objects, "Deployment", "w-side")
    assert app["image"] == "acme/app:1"
    assert app["lifecycle"]["preStop"]["sleep"]["seconds"] == 5
    grace_s = objects["Deployment", "w-side"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace_s > AgentSettings.model_fields["drain_grace_s"].default


def test_who_scales_is_the_only_one(tmp_path: Path) -> None:
    objects = made(EVERYTHING, tmp_path)
    assert objects["Deployment", "w-plain"]["spec"]["replicas"] == 3
    for name in ("w-side", "w-zero"):
        assert "replicas" not in objects["Deployment", name]["spec"]
    assert objects["HorizontalPodAutoscaler", "w-side"]["spec"]["scaleTargetRef"]["name"] == "w-side"
    (trigger,) = objects["ScaledObject", "w-zero"]["spec"]["triggers"]
    assert trigger["metadata"] == {
        "scalerAddress": "w.here:7700",
        "methods": "acme.v1.Greeter/*",
        "tasksPerReplica": "4",
        "enableTLS": "true",
    }
    assert trigger["authenticationRef"] == {"name": "weft-keda"}
    peers = objects["NetworkPolicy", "w-coordinator"]["spec"]["ingress"][0]["from"]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "scalers"}}} in peers
    assert "--keda" in container(objects, "Deployment", "w-coordinator")["args"]


@pytest.mark.parametrize("mode", ["plain", "auto", "files"])
def test_what_is_set_is_a_setting(mode: str, tmp_path: Path) -> None:
    values = EVERYTHING | {"security": {"mode": mode, "tlsSecret": "s"}}
    objects = made(values, tmp_path)
    known = "".join(
        row[1] for kind in (AgentSettings, CoordinatorSettings) for row in settings_table.rows(kind)
    )
    for name, which in (
        ("w-coordinator", "containers"),
        ("w-plain", "containers"),
        ("w-side", "initContainers"),
    ):
        one = container(objects, "Deployment", name, which)
        given = variables(one)
        assert ("WEFT_INSECURE" in given) == (mode == "plain")
        tokens = "WEFT_TOKENS" if name == "w-coordinator" else "WEFT_TOKEN_FILE"
        assert (tokens in given) == (mode != "plain")
        assert all(f"`{key}`" in known for key in given if key.startswith("WEFT_")), given
        if name == "w-coordinator":
            probe = {"plain": "grpc", "auto": "tcpSocket", "files": "exec"}[mode]
            assert probe in one["readinessProbe"]


@pytest.mark.slow
@pytest.mark.real_starts
async def test_the_probe_of_a_mesh_with_its_own_certificates_works(tmp_path: Path) -> None:
    """The command of the chart, in a folder of the test instead of the volume."""
    one = container(made({"security": {"mode": "auto"}}, tmp_path), "StatefulSet", "w-coordinator")
    folder = tmp_path / "data"
    folder.mkdir()
    listen, probe = free_address(), one["readinessProbe"]["exec"]["command"]
    env = {key: here(value, folder) for key, value in variables(one).items() if isinstance(value, str)}
    words = [here(word, folder).replace("0.0.0.0:7700", listen) for word in one["args"]]
    words[words.index("--metrics") + 1] = free_address()
    process = Process.weft("c", *words, "--join-listen", free_address(), log=tmp_path / "c.log", env=env)
    try:
        await until(lambda: "coordinator.ready" in process.output() or not process.alive, "it serves")
        assert process.alive, process.output()
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        asked = [here(word, folder).replace("127.0.0.1:7700", listen) for word in probe]
        done = subprocess.run(
            asked, env=environment({"PATH": path}), capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
    finally:
        process.cleanup()


def here(text: str, folder: Path) -> str:
    return text.replace("/var/lib/weft", str(folder))


def test_every_container_may_do_little(tmp_path: Path) -> None:
    for (kind, _), each in made(EVERYTHING, tmp_path).items():
        if kind not in ("Deployment", "StatefulSet"):
            continue
        pod = each["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for one in [*pod.get("initContainers", ()), *pod["containers"]]:
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"store": {"kind": "redis"}}, "store"),
    ({"store": {"kind": "postgres"}}, "store"),
    ({"store": {"kind": "redis", "url": "http://x"}}, "store"),
    ({"security": {"mode": "files"}}, "security"),
    ({"securty": {}}, "securty"),
    ({"pools": [{"name": "x"}]}, "image"),
    ({"pools": [{"name": "X y", "image": "i"}]}, "pools"),
    ({"pools": [{"name": "x", "image": "i", "slots": 0}]}, "slots"),
    ({"pools": [{"name": "x", "image": "i", "autoscaling": {"kind": "keda"}}]}, "methods"),
    ({"security": {"mode": "auto"}, "pools": [{"name": "x", "image": "i"}]}, "tokenSecret"),
    ({"gateway": {"enabled": True}}, "parentRefs"),
    ({"coordinator": {"replicas": 0}}, "replicas"),
]


@pytest.mark.parametrize(("values", "names"), WRONG)
def test_values_that_cannot_work_are_refused_by_name(
    values: dict[str, Any], names: str, tmp_path: Path
) -> None:
    done = template(values, tmp_path)
    assert done.returncode != 0
    assert names in done.stderr


def test_the_defaults_are_in_the_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(DEFAULTS, SCHEMA)
    assert DEFAULTS.keys() == SCHEMA["properties"].keys() - {"global"}


def test_the_plain_manifests_are_those_of_the_chart() -> None:
    for folder in kubernetes_manifests.FOLDERS:
        assert (folder / "weft.yaml").read_text() == kubernetes_manifests.manifests(folder, helm())


def test_helm_lints_it(tmp_path: Path) -> None:
    (file := tmp_path / "values.yaml").write_text(json.dumps(EVERYTHING))
    command = [helm(), "lint", str(CHART), "--strict", "--kube-version", "1.30.0", "--values", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["scaledobject", "scaledjob", "authentication"])
def test_the_examples_for_keda_are_what_keda_takes(name: str) -> None:
    for each in yaml.safe_load_all((ROOT / "deploy" / "keda" / f"{name}.yaml").read_text()):
        check_object(each)
