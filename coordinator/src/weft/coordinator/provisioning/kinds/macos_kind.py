"""`macos`: a script that makes the agent a service of launchd."""

from __future__ import annotations

from weft.coordinator.provisioning.agent_spec import AgentSpec
from weft.coordinator.provisioning.kinds.linux_kind import FOLDER, RUN_AS, WEFT, service_script
from weft.coordinator.provisioning.provision_kind import Artifact


class MacosKind:
    """As on Linux, in macOS' folders."""

    name = "macos"
    description = "A script for root that makes it a service of launchd."
    most_replicas = 1
    first_number: int | None = None
    settings = (
        WEFT,
        FOLDER,
        RUN_AS._replace(description="the system's user that it runs as; unless set, root"),
    )

    def render(self, agent: AgentSpec) -> Artifact:
        run_as = agent.options.get("run_as")
        return Artifact(
            service_script(agent, "/usr/local/etc/weft"),
            f"{agent.name}.sh",
            [
                f"run it as root, where weft and the program are installed: sudo sh {agent.name}.sh",
                f"weft service status --name {agent.name} shows whether it runs",
            ],
            [f"let {run_as} read the token: chown {run_as} /usr/local/etc/weft/{agent.name}.token"]
            if run_as
            else ["the service runs as root: set run_as to another user"],
        )
