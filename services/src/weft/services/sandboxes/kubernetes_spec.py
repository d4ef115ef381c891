"""Sandboxes as Kubernetes has them: what a pod is made with, what is read from one, whose pods are left over. Pure: time is passed in."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from weft.agent import Sandbox
from weft.rpc import bounded_json
from weft.services.sandboxes.remote_piece import box_variables, first_argv
from weft.services.sandboxes.sandbox_provider import BoxError
from weft.services.sandboxes.settings import SandboxesSettings

GROUP = "agents.x-k8s.io"
# Those whose fields are used here are the same in both; the newer one is asked for first.
VERSIONS = ("v1beta1", "v1alpha1")
PLURAL = "sandboxes"
CONTAINER = "sandbox"
SANDBOX_LABEL, NETWORK_LABEL = "weft.dev/sandbox", "weft.dev/sandbox-network"
# The policy that those without network need, as deploy/kubernetes/sandboxes.yaml has it.
POLICY = "weft-sandbox-no-network"
# Of process 1, and what starts a program and hands on its input: two each, of some at a time.
_OWN_PROCESSES = 16
_SHARED_MB = 16
_ENDED = ("Succeeded", "Failed")
# A pod that waits for one of these waits in vain.
_HOPELESS = (
    *("InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"),
    *("CreateContainerError", "RunContainerError", "CrashLoopBackOff"),
)
_MOST_WORDS = 300
HELD_BY = {
    "memory_mb": "the cluster: resources.limits.memory of the pod",
    "cpus": "the cluster: resources.limits.cpu of the pod",
    "max_processes": "RLIMIT_NPROC of each program, whose user no other pod has",
    "max_open_files": "RLIMIT_NOFILE, for each process",
    "disk_mb": "the sizeLimit of the volumes /work and /tmp, which are in memory",
}


def pod_of(
    sandbox: Sandbox, name: str, user: int, lease_s: int, settings: SandboxesSettings
) -> dict[str, Any]:
    """A sandbox's pod.

    Args:
        user: a number that no other pod has: the system counts processes by user.
    """
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": settings.kubernetes_owner_pod,
        "uid": settings.kubernetes_owner_uid,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": labels_of(sandbox),
            **({"ownerReferences": [owner]} if settings.kubernetes_owner_uid else {}),
        },
        "spec": _spec(sandbox, user, lease_s, settings),
    }


def resource_of(pod: Mapping[str, Any], version: str, ends_at: dt.datetime) -> dict[str, Any]:
    """A pod as the resource `Sandbox` of agent-sandbox, whose controller makes the pod, with the same name."""
    return {
        "apiVersion": f"{GROUP}/{version}",
        "kind": "Sandbox",
        "metadata": pod["metadata"],
        "spec": {
            "podTemplate": {"metadata": {"labels": pod["metadata"]["labels"]}, "spec": pod["spec"]},
            "service": False,
            "shutdownTime": ends_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "shutdownPolicy": "Delete",
        },
    }


def labels_of(sandbox: Sandbox) -> dict[str, str]:
    """What a sandbox and its pod are found by, and network policies select."""
    return {
        "app.kubernetes.io/managed-by": "weft",
        SANDBOX_LABEL: "true",
        NETWORK_LABEL: "open" if sandbox.network else "none",
    }


def _spec(sandbox: Sandbox, user: int, lease_s: int, settings: SandboxesSettings) -> dict[str, Any]:
    limits = {"NPROC": sandbox.max_processes + _OWN_PROCESSES, "NOFILE": sandbox.max_open_files, "CORE": 0}
    variables = {"HOME": "/work", "WEFT_BOX_LIMITS": json.dumps(limits), **box_variables()}
    resources = {"memory": f"{sandbox.memory_mb}Mi", "cpu": f"{max(1, round(sandbox.cpus * 1000))}m"}
    folders = {
        "work": ("/work", sandbox.disk_mb),
        "tmp": ("/tmp", sandbox.disk_mb),  # noqa: S108 - the pod's own
        "shared": ("/dev/shm", _SHARED_MB),  # noqa: S108 - the same
    }
    argv = first_argv(lease_s)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": int(settings.kubernetes_deadline_s),
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": CONTAINER,
                "image": settings.kubernetes_image,
                "command": [_literal(word) for word in argv[:1]],
                "args": [_literal(word) for word in argv[1:]],
                "workingDir": "/work",
                # Its end is not the agent's: a connection can be cut, and is then made again.
                "stdin": True,
                "env": [{"name": key, "value": _literal(text)} for key, text in variables.items()],
                "resources": {"limits": resources, "requests": resources},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": key, "mountPath": path} for key, (path, _) in folders.items()],
            }
        ],
        "volumes": [
            {"name": key, "emptyDir": {"medium": "Memory", "sizeLimit": f"{size}Mi"}}
            for key, (_, size) in folders.items()
        ],
    }
    if settings.kubernetes_runtime_class:
        spec["runtimeClassName"] = settings.kubernetes_runtime_class
    return spec


def _literal(text: str) -> str:
    """A text in which Kubernetes replaces no $(NAME)."""
    return text.replace("$", "$$")


def forbids_network(policy: Any) -> bool:
    """If it is enforced, a network policy keeps a sandbox without network from all of it."""
    spec = policy.spec
    chosen = spec.pod_selector.match_labels or {}
    return (
        chosen.items() <= {SANDBOX_LABEL: "true", NETWORK_LABEL: "none"}.items()
        and not spec.pod_selector.match_expressions
        and {"Ingress", "Egress"} <= set(spec.policy_types or ())
        and not spec.ingress
        and not spec.egress
    )


def is_up(pod: Any) -> bool:
    """Its process 1 runs.

    Raises:
        BoxError: it will not.
    """
    if pod is None:
        return False
    status = pod.status
    state = _state(pod)
    if status.phase in _ENDED or pod.metadata.deletion_timestamp is not None:
        raise BoxError(grpc.StatusCode.FAILED_PRECONDITION, f"a sandbox did not start: {ending(pod)}")
    if state is not None and state.waiting is not None and state.waiting.reason in _HOPELESS:
        raise BoxError(grpc.StatusCode.FAILED_PRECONDITION, f"a sandbox did not start: {waits_for(pod)}")
    return state is not None and state.running is not None


def runs(pod: Any) -> bool:
    """It has not ended, and is not being deleted."""
    return pod is not None and pod.status.phase not in _ENDED and pod.metadata.deletion_timestamp is None


def waits_for(pod: Any) -> str:
    """Why a pod is not up yet."""
    if pod is None:
        return "there is no pod. Does the controller of agent-sandbox run?"
    state = _state(pod)
    if state is not None and state.waiting is not None:
        return _words(state.waiting.reason, state.waiting.message)
    told = [each for each in pod.status.conditions or () if each.status == "False" and each.reason]
    return "; ".join(_words(each.reason, each.message) for each in told) or f"it is {pod.status.phase}"


def ending(pod: Any) -> str:
    """Why a pod has ended, or is about to."""
    if pod is None:
        return "its pod was deleted"
    status, state = pod.status, _state(pod)
    if status.reason:
        return _words(f"its pod has ended: {status.reason}", status.message)
    if state is not None and state.terminated is not None:
        ended = state.terminated
        return _words(f"its process 1 has ended: {ended.reason}, status {ended.exit_code}", ended.message)
    if pod.metadata.deletion_timestamp is not None:
        return "its pod is being deleted"
    return "its pod has ended" if status.phase in _ENDED else "the connection to its process 1 was lost"


def _state(pod: Any) -> Any:
    found = [each.state for each in pod.status.container_statuses or () if each.name == CONTAINER]
    return found[0] if found else None


def _words(reason: str | None, message: str | None) -> str:
    return ": ".join(filter(None, (reason, (message or "").strip()[:_MOST_WORDS])))


def made_at(told: Mapping[str, str]) -> dict[str, dt.datetime]:
    """When each was made, without those of which the cluster tells no time."""
    found: dict[str, dt.datetime] = {}
    for name, text in told.items():
        with contextlib.suppress(ValueError):
            at = dt.datetime.fromisoformat(text)
            found[name] = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    return found


def left_over(
    made: Mapping[str, dt.datetime], pods: Iterable[Any], now: dt.datetime, start_s: float
) -> list[str]:
    """Those whose agent is gone. Where it is not, a pod runs: it ends by itself when nobody writes to it.

    Args:
        made: when each was made, by its name.
        start_s: one that is so old has started, if it does.
    """
    known = {each.metadata.name: each for each in pods}
    old = dt.timedelta(seconds=start_s)

    def is_left(name: str, at: dt.datetime) -> bool:
        pod = known.get(name)
        if pod is not None and pod.status.phase in _ENDED:
            return True
        return now - at > old and (pod is None or pod.status.phase != "Running")

    return [name for name, at in made.items() if is_left(name, at)]


def status_of(told: bytes) -> int | BoxError:
    """How a program has ended, as the cluster tells it on the channel of errors; or that it could not be started."""
    try:
        found = bounded_json.loads(told)
        if found["status"] == "Success":
            return 0
        causes = (found.get("details") or {}).get("causes") or []
        codes = [each["message"] for each in causes if each.get("reason") == "ExitCode"]
        if codes:
            return int(codes[0]) & 0xFF
        words = _words(found.get("reason"), found.get("message"))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return BoxError(grpc.StatusCode.UNAVAILABLE, "the cluster told the end of a program in no known form")
    return BoxError(grpc.StatusCode.FAILED_PRECONDITION, f"the cluster could not run it: {words}")
