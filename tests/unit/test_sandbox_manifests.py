"""Sandboxes in Kubernetes: the manifests that are shipped, and what is read from what a cluster tells."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import grpc
import pytest
import yaml
from kubernetes_asyncio import client

from tests.support.running_kubernetes import MANIFESTS
from weft.agent import Sandbox
from weft.services.sandboxes import kubernetes_spec as spec
from weft.services.sandboxes.sandbox_provider import BoxError
from weft.services.sandboxes.settings import SandboxesSettings

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def manifests() -> dict[tuple[str, str], dict[str, Any]]:
    found = yaml.safe_load_all(MANIFESTS.read_text(encoding="utf-8"))
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def read(text: dict[str, Any], kind: str) -> Any:
    """As the library reads an answer."""
    return client.ApiClient.__new__(client.ApiClient)._ApiClient__deserialize(text, kind)


def test_the_manifests_fit_together() -> None:
    found = manifests()
    space = found["Namespace", "weft-sandboxes"]["metadata"]
    assert space["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    binding = found["RoleBinding", "weft-sandboxes"]
    account = found["ServiceAccount", "weft-sandboxes"]["metadata"]
    assert binding["roleRef"]["name"] == found["Role", "weft-sandboxes"]["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount"} | account]
    inside = [each["metadata"].get("namespace") for (kind, _), each in found.items() if kind != "Namespace"]
    assert set(inside) == {"weft", "weft-sandboxes"}
    # No right is over the cluster, or for all things.
    rules = found["Role", "weft-sandboxes"]["rules"]
    assert "*" not in str(rules)
    assert not [kind for kind, _ in found if kind.startswith("Cluster")]


def test_each_sandbox_has_a_policy_that_chooses_it() -> None:
    policies = {
        name: read(each, "V1NetworkPolicy")
        for (kind, name), each in manifests().items()
        if kind == "NetworkPolicy"
    }
    assert spec.forbids_network(policies[spec.POLICY])
    assert not spec.forbids_network(policies["weft-sandbox-open-network"])
    for network, name in ((False, spec.POLICY), (True, "weft-sandbox-open-network")):
        chosen = policies[name].spec.pod_selector.match_labels
        assert chosen.items() <= spec.labels_of(Sandbox(network=network)).items()


@pytest.mark.parametrize(
    "change",
    [
        {"egress": [{}]},
        {"ingress": [{}]},
        {"policyTypes": ["Ingress"]},
        {"podSelector": {"matchLabels": {"app": "other"}}},
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}},
    ],
)
def test_a_policy_that_lets_something_through_is_none(change: dict[str, Any]) -> None:
    policy = manifests()["NetworkPolicy", spec.POLICY]
    changed = read(policy | {"spec": policy["spec"] | change}, "V1NetworkPolicy")
    assert not spec.forbids_network(changed)


def test_a_pod_is_one_and_keeps_its_texts() -> None:
    made = spec.pod_of(Sandbox(), "weft-sandbox-1", 1_234_567_890, 60, SandboxesSettings())
    pod = read(made, "V1Pod")
    (container,) = pod.spec.containers
    texts = {each.name: each.value for each in container.env}
    # $(NAME) would be replaced.
    assert "$" not in "".join(texts.values()).replace("$$", "")
    assert json.loads(texts["WEFT_BOX_LIMITS"]) == {"NPROC": 144, "NOFILE": 1024, "CORE": 0}
    resource = spec.resource_of(made, "v1alpha1", NOW)
    assert resource["spec"]["shutdownTime"] == "2026-01-01T00:00:00Z"
    assert resource["spec"]["podTemplate"]["spec"] == made["spec"]


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ({"status": "Success"}, 0),
        ({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "137"}]}}, 137),
        (
            {"status": "Failure", "reason": "InternalError", "message": "no python3"},
            "could not run it: InternalError: no python3",
        ),
        ({"status": "Failure", "details": None}, "could not run it"),
        (
            {"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "x"}]}},
            "no known form",
        ),
        ([], "no known form"),
        ("{", "no known form"),
    ],
)
def test_how_a_program_has_ended(told: Any, wanted: int | str) -> None:
    found = spec.status_of(told.encode() if isinstance(told, str) else json.dumps(told).encode())
    if isinstance(wanted, int):
        assert found == wanted
    else:
        assert isinstance(found, BoxError)
        assert wanted in found.message


def pod(name: str = "a", phase: str = "Running", **state: Any) -> Any:
    container = {"name": "sandbox", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": phase, "containerStatuses": [container | {"state": state}] if state else []}
    return read({"metadata": {"name": name}, "status": status}, "V1Pod")


def test_when_a_pod_is_up_and_why_it_is_not() -> None:
    assert spec.is_up(pod(running={"startedAt": "2026-01-01T00:00:00Z"}))
    assert not spec.is_up(None)
    assert not spec.is_up(pod(phase="Pending"))
    assert "agent-sandbox" in spec.waits_for(None)
    assert spec.waits_for(pod(waiting={"reason": "ErrImagePull", "message": "no"})) == "ErrImagePull: no"
    assert spec.waits_for(pod(phase="Pending")) == "it is Pending"
    with pytest.raises(BoxError, match="OOMKilled, status 137") as ended:
        spec.is_up(pod(phase="Failed", terminated={"reason": "OOMKilled", "exitCode": 137}))
    assert ended.value.code == grpc.StatusCode.FAILED_PRECONDITION
    assert spec.ending(None) == "its pod was deleted"


def test_what_is_left_over() -> None:
    made = dict.fromkeys(("ended", "runs", "waits", "podless"), NOW)
    pods = [pod("ended", "Succeeded"), pod("runs"), pod("waits", "Pending")]
    at = NOW + dt.timedelta(seconds=60)
    assert spec.left_over(made, pods, at, 100) == ["ended"]
    assert spec.left_over(made, pods, at, 59) == ["ended", "waits", "podless"]
