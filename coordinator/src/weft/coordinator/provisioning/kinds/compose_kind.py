"""`compose`: a file for Docker Compose, with a service for each agent."""

from __future__ import annotations

from typing import Any

from weft.coordinator.provisioning.agent_spec import AgentSpec
from weft.coordinator.provisioning.kinds.docker_kind import APP_IMAGE, CA_FILE, CPUS, IMAGE, MEMORY, STOP_S
from weft.coordinator.provisioning.provision_kind import Artifact
from weft.coordinator.provisioning.yaml_text import yaml_text


class ComposeKind:
    """A service for each agent rather than replicas of one: each has an id of its own, to which its token is bound."""

    name = "compose"
    description = "A file for Docker Compose."
    most_replicas = 64
    first_number: int | None = None
    settings = (
        IMAGE,
        CPUS,
        MEMORY,
        APP_IMAGE,
    )

    def render(self, agent: AgentSpec) -> Artifact:
        services: dict[str, Any] = {}
        for agent_id in agent.ids:
            services[agent_id] = _service(agent, agent_id)
            if agent.options.get("app_image"):
                services[f"{agent_id}-app"] = {
                    "image": _literal(agent.options["app_image"]),
                    "network_mode": f"service:{agent_id}",
                    "restart": "unless-stopped",
                }
        file_name = f"{agent.name}.compose.yaml"
        return Artifact(
            yaml_text({"name": agent.name, "services": services}),
            file_name,
            [
                f"run it where Docker runs: docker compose --file {file_name} up --detach",
                "the file has the token: keep it for yourself (chmod 600)",
            ],
            _warnings(agent),
        )


def _warnings(agent: AgentSpec) -> list[str]:
    if agent.app and not agent.options.get("app_image"):
        return ["app is set without app_image: start the app in the agent's network yourself"]
    return []


def _service(agent: AgentSpec, agent_id: str) -> dict[str, Any]:
    options, is_file = agent.options, agent.tls_ca not in {"", "system"}
    variables = agent.environment(
        WEFT_AGENT_ID=agent_id,
        WEFT_TOKEN=agent.token,
        WEFT_TLS_CA=CA_FILE if is_file else agent.tls_ca,
    )
    service: dict[str, Any] = {
        "image": _literal(options["image"]),
        "environment": {name: _literal(value) for name, value in variables.items()},
        "restart": "unless-stopped",
        "stop_grace_period": f"{STOP_S}s",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
    }
    if agent.command():
        service["command"] = [_literal(word) for word in agent.command()]
    service |= {"network_mode": "host"} if agent.stays_here else {"hostname": agent_id}
    if is_file:
        mount = {"type": "bind", "source": _literal(agent.tls_ca), "target": CA_FILE, "read_only": True}
        service["volumes"] = [mount]
    if options.get("cpus"):
        service["cpus"] = options["cpus"]
    if options.get("memory"):
        service["mem_limit"] = options["memory"]
    return service


def _literal(value: str) -> str:
    """A value of which Compose replaces nothing."""
    return value.replace("$", "$$")
