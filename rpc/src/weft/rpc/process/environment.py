"""Where this process runs: its container, its pod and its host, by OpenTelemetry's names. Read once.

Whoever starts the process chooses much of this, and a container's files are its own: values are checked by their form and bounded,
and those of another form are left out.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

CONTAINER, POD, SPACE, NODE = "container.id", "k8s.pod.name", "k8s.namespace.name", "k8s.node.name"
SYSTEM, ARCHITECTURE = "os.type", "host.arch"
# All of them.
NAMES = (CONTAINER, POD, SPACE, NODE, SYSTEM, ARCHITECTURE)
# Variables of a pod's manifest, set by the downward API: see `weft provision kubernetes`.
_VARIABLES = {POD: "K8S_POD_NAME", SPACE: "K8S_NAMESPACE_NAME", NODE: "K8S_NODE_NAME"}
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
# What Kubernetes lets a pod, a namespace and a node be called.
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_ID = re.compile(r"[0-9a-f]{64}")
# Docker's and Podman's files of a container that are mounted into it.
_MOUNTED = re.compile(r"/(?:overlay-)?containers/([0-9a-f]{64})/")
_SPACE_FILE = "var/run/secrets/kubernetes.io/serviceaccount/namespace"
_MOST_BYTES = 256 * 1024


@functools.cache
def environment() -> Mapping[str, str]:
    """What is known, by name."""
    return read_environment(Path("/"), os.environ)


def read_environment(root: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """What is known.

    Args:
        root: of the file system.
    """
    found = {
        CONTAINER: _container_id(root),
        SYSTEM: {"win32": "windows"}.get(sys.platform, sys.platform),
        ARCHITECTURE: _ARCHITECTURES.get(platform.machine().lower(), ""),
    }
    if "KUBERNETES_SERVICE_HOST" in variables or any(name in variables for name in _VARIABLES.values()):
        found |= {name: variables.get(variable, "") for name, variable in _VARIABLES.items()}
        found[SPACE] = found[SPACE] or _text(root / _SPACE_FILE).strip()
        found = {
            name: value for name, value in found.items() if name not in _VARIABLES or _NAME.fullmatch(value)
        }
    return {name: value for name, value in found.items() if value}


def _container_id(root: Path) -> str:
    """The container's id, by its cgroup or by what is mounted into it; empty: it is none, or hides it."""
    return next(_container_ids(root), "")


def _container_ids(root: Path) -> Iterator[str]:
    for line in _text(root / "proc/self/cgroup").splitlines():
        # Such as docker-ID.scope, cri-containerd-ID.scope, libpod-ID.scope, or the id alone.
        yield from _ID.findall(line.rpartition("/")[2])
    yield from _MOUNTED.findall(_text(root / "proc/self/mountinfo"))


def _text(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(_MOST_BYTES).decode("utf-8", errors="replace")
    return ""
