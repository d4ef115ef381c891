"""`helm`: values for weft's chart of agents, which is in deploy/helm/weft-agent."""

from __future__ import annotations

from typing import Any

from weft.coordinator.provisioning.agent_spec import AgentSpec
from weft.coordinator.provisioning.kinds.kubernetes_kind import (
    POD_SETTINGS,
    check_pod_name,
    literal,
    pod_limits,
    pod_warnings,
)
from weft.coordinator.provisioning.provision_kind import Artifact, KindSetting
from weft.coordinator.provisioning.yaml_text import yaml_text

CHART = "deploy/helm/weft-agent"


class HelmKind:
    """The chart makes what `kubernetes` writes: a Secret and a StatefulSet whose pods' names are the agents' ids."""

    name = "helm"
    description = "Values for weft's Helm chart of agents."
    most_replicas = 64
    first_number: int | None = 0
    settings = (
        *POD_SETTINGS,
        KindSetting(
            "chart",
            "where the chart is",
            default=CHART,
            form=r"[A-Za-z0-9._/:@+-]+",
            form_text="a path or a reference of Helm's",
        ),
    )

    def render(self, agent: AgentSpec) -> Artifact:
        check_pod_name(agent)
        file_name = f"{agent.name}.values.yaml"
        space = agent.options.get("namespace", "")
        words = ["helm", "upgrade", "--install", agent.name, agent.options["chart"], "--values", file_name]
        return Artifact(
            yaml_text(_values(agent)),
            file_name,
            [
                " ".join([*words, *(["--namespace", space] if space else [])]),
                "the file has the token: keep it for yourself (chmod 600), and do not commit it",
            ],
            pod_warnings(agent),
        )


def _values(agent: AgentSpec) -> dict[str, Any]:
    named = agent.tls_ca not in {"", "system"}
    variables = agent.environment(WEFT_TLS_CA="" if named else agent.tls_ca)
    values: dict[str, Any] = {
        "image": agent.options["image"],
        "replicas": len(agent.ids),
        "args": [literal(word) for word in agent.command()],
        "env": [{"name": name, "value": literal(value)} for name, value in variables.items()],
        "token": agent.token,
    }
    if named:
        values["caConfigMap"] = agent.tls_ca
    if agent.options.get("app_image"):
        values["appImage"] = agent.options["app_image"]
    return values | pod_limits(agent)
