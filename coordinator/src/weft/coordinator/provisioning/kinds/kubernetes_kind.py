"""`kubernetes`: a Secret with the token, and a StatefulSet."""

from __future__ import annotations

from typing import Any

from weft.coordinator.provisioning.agent_spec import AgentSpec
from weft.coordinator.provisioning.kinds.docker_kind import APP_IMAGE, IMAGE, STOP_S
from weft.coordinator.provisioning.provision_kind import Artifact, KindSetting
from weft.coordinator.provisioning.yaml_text import yaml_text
from weft.rpc import refusals

# Controllers append to the name, and a label has 63 characters at most.
MAX_NAME_CHARS = 50
# The user of weft's own images.
USER = 10001
SECRETS, CA = "/var/run/secrets/weft", "/etc/weft/ca"
# With those of the pod, what the level `restricted` of a namespace asks of a container.
_LEAST_RIGHTS = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_QUANTITY = r"[0-9]+(\.[0-9]+)?(m|[kMGT]i?)?"
POD_SETTINGS = (
    IMAGE,
    KindSetting("namespace", "the namespace", form=_NAME, form_text="the name of a namespace"),
    KindSetting("cpu", "cores that a pod may use", form=_QUANTITY, form_text="a quantity, such as 500m"),
    KindSetting("memory", "memory that a pod may use", form=_QUANTITY, form_text="a quantity, such as 512Mi"),
    APP_IMAGE,
    KindSetting(
        "tls_ca",
        "the ConfigMap that has the coordinator's authorities as ca.pem, or `system`",
        form=_NAME,
        form_text="the name of a ConfigMap, or system",
    ),
)
# Where a pod runs, by the downward API: the agent makes labels of them.
PLACES = {
    "K8S_POD_NAME": "metadata.name",
    "K8S_NAMESPACE_NAME": "metadata.namespace",
    "K8S_NODE_NAME": "spec.nodeName",
}


class KubernetesKind:
    """Pods of a StatefulSet have stable names, which are the agents' ids: so the token is bound to them."""

    name = "kubernetes"
    description = "A Secret and a StatefulSet for kubectl."
    most_replicas = 64
    first_number = 0
    settings = POD_SETTINGS

    def render(self, agent: AgentSpec) -> Artifact:
        file_name = f"{agent.name}.yaml"
        space = agent.options.get("namespace", "")
        return Artifact(
            yaml_text(_secret(agent), _stateful_set(agent)),
            file_name,
            [
                f"kubectl apply --filename {file_name}",
                f"kubectl rollout status statefulset/{agent.name}{f' --namespace {space}' if space else ''}",
                "the file has the token: keep it for yourself (chmod 600), and do not commit it",
            ],
            pod_warnings(agent),
        )


def check_pod_name(agent: AgentSpec) -> None:
    """
    Raises:
        InvalidArgument: the name is too long for pods.
    """
    if len(agent.name) > MAX_NAME_CHARS:
        raise refusals.invalid_field(f"the name of pods is at most {MAX_NAME_CHARS} characters", field="name")


def pod_warnings(agent: AgentSpec) -> list[str]:
    """What keeps pods from working."""
    if agent.stays_here:
        return [f"{agent.target} is the pod itself: set target to an address that pods can reach"]
    return []


def literal(value: str) -> str:
    """A value of which Kubernetes replaces nothing."""
    return value.replace("$", "$$")


def pod_variables(agent: AgentSpec) -> list[dict[str, Any]]:
    """The environment of an agent's container."""
    ca = {"": "", "system": "system"}.get(agent.tls_ca, f"{CA}/ca.pem")
    places: dict[str, str] = {"WEFT_AGENT_ID": "metadata.name"} | PLACES
    values = agent.environment(WEFT_TOKEN_FILE=f"{SECRETS}/token", WEFT_TLS_CA=ca)
    return [
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in places.items()),
        *({"name": name, "value": literal(value)} for name, value in values.items()),
    ]


def _metadata(agent: AgentSpec) -> dict[str, Any]:
    check_pod_name(agent)
    named = {"name": agent.name, "labels": {"app.kubernetes.io/name": agent.name}}
    space = agent.options.get("namespace", "")
    return named | ({"namespace": space} if space else {})


def _secret(agent: AgentSpec) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(agent),
        "type": "Opaque",
        "stringData": {"token": agent.token},
    }


def _stateful_set(agent: AgentSpec) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": agent.name}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _metadata(agent),
        "spec": {
            "serviceName": agent.name,
            "replicas": len(agent.ids),
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod(agent)},
        },
    }


def _pod(agent: AgentSpec) -> dict[str, Any]:
    containers = [_container(agent)]
    if agent.options.get("app_image"):
        app = {"name": "app", "image": agent.options["app_image"], "securityContext": _LEAST_RIGHTS}
        containers.append(app)
    # The agent's group may read the token, and nobody else: 288 is 0440.
    volumes: list[dict[str, Any]] = [
        {"name": "token", "secret": {"secretName": agent.name, "defaultMode": 288}}
    ]
    if agent.tls_ca not in {"", "system"}:
        volumes.append({"name": "ca", "configMap": {"name": agent.tls_ca}})
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": STOP_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": containers,
        "volumes": volumes,
    }


def _container(agent: AgentSpec) -> dict[str, Any]:
    mounts: list[dict[str, Any]] = [{"name": "token", "mountPath": SECRETS, "readOnly": True}]
    if agent.tls_ca not in {"", "system"}:
        mounts.append({"name": "ca", "mountPath": CA, "readOnly": True})
    found: dict[str, Any] = {
        "name": "agent",
        "image": agent.options["image"],
        "env": pod_variables(agent),
        "volumeMounts": mounts,
        "securityContext": _LEAST_RIGHTS,
    }
    if agent.command():
        found["args"] = [literal(word) for word in agent.command()]
    return found | pod_limits(agent)


def pod_limits(agent: AgentSpec) -> dict[str, Any]:
    """What a container may use, as a member of it."""
    limits = {name: agent.options[name] for name in ("cpu", "memory") if agent.options.get(name)}
    return {"resources": {"limits": limits}} if limits else {}
