"""The chart of a whole mesh for tests: sets of values that use all of it, and what helm makes of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from scripts.kubernetes_manifests import CHART
from tests.support.foreign_tools import find_go_tool
from tests.support.processes import ROOT

CRDS = ROOT / "tests" / "support" / "schemas" / "crds"
# The oldest that the chart is for, and the newest that is known here.
VERSIONS = ("1.30", "1.37")

REDIS: dict[str, Any] = {"store": {"kind": "redis", "urlSecret": {"name": "weft-redis"}}}
EVERYTHING: dict[str, Any] = REDIS | {
    "security": {"mode": "auto"},
    "keda": {"enabled": True, "namespace": "scalers", "authentication": "weft-keda"},
    "operator": {"enabled": True, "tokenSecret": "o", "replicas": 2},
    "metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "p"}}},
    "gateway": {"enabled": True, "parentRefs": [{"name": "gw"}], "hostnames": ["mesh.example"]},
    "externalSecrets": {
        "enabled": True,
        "storeRef": {"name": "vault", "kind": "SecretStore"},
        "secrets": [{"name": "weft-redis", "key": "url", "remoteKey": "weft/redis"}],
    },
    "serviceAccount": {"pools": True},
    "coordinator": {"nodeSelector": {"a": "b"}, "tolerations": [{"key": "k", "operator": "Exists"}]},
    "pools": [
        {"name": "plain", "image": "acme/w:1", "tokenSecret": "t", "replicas": 3, "slots": 9},
        {
            "name": "side",
            "image": "weft-agent:1",
            "tokenSecret": "t",
            "app": {"image": "acme/app:1", "port": 9000, "preStopSleepSeconds": 5},
            "autoscaling": {"kind": "cpu"},
        },
        {
            "name": "zero",
            "image": "acme/w:1",
            "tokenSecret": "t",
            "autoscaling": {"kind": "keda", "min": 0, "methods": "acme.v1.Greeter/*"},
        },
    ],
}
FILES = {"security": {"mode": "files", "tlsSecret": "weft-tls"}, "pools": EVERYTHING["pools"][:1]}

# Every kind of object and every way of security, by name.
SETS: dict[str, dict[str, Any]] = {"default": {}, "redis": REDIS, "all": EVERYTHING, "files": FILES}

Made = dict[tuple[str, str], Any]


def helm() -> str:
    return find_go_tool("helm", "helm.sh/helm/v3/cmd/helm@v3.19.2")


def template(
    values: dict[str, Any], folder: Path, version: str = VERSIONS[0]
) -> subprocess.CompletedProcess[str]:
    (file := folder / "values.yaml").write_text(json.dumps(values))
    command = [helm(), "template", "w", str(CHART), "--namespace", "here", "--kube-version", f"{version}.0"]
    return subprocess.run(
        [*command, "--values", str(file)], capture_output=True, text=True, check=False, timeout=60
    )


def made(values: dict[str, Any], folder: Path) -> Made:
    done = template(values, folder)
    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    found = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    assert len(found) == len(objects)
    return found
