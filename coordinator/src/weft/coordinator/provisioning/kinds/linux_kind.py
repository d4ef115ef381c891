"""`linux`: a script that makes the agent a service of systemd."""

from __future__ import annotations

from weft.coordinator.provisioning.agent_spec import AgentSpec
from weft.coordinator.provisioning.provision_kind import Artifact, KindSetting
from weft.coordinator.provisioning.shell_text import PosixScript

WEFT = KindSetting("weft", "the path of the command weft on that machine", default="/opt/weft/bin/weft")
FOLDER = KindSetting("folder", "the folder of the agent's program")
RUN_AS = KindSetting(
    "run_as", "the system's user that it runs as; unless set, one of its own, without rights"
)


class LinuxKind:
    """The unit itself is written by `weft service install`, on the machine where it will run."""

    name = "linux"
    description = "A script for root that makes it a service of systemd."
    most_replicas = 1
    first_number: int | None = None
    settings = (WEFT, FOLDER, RUN_AS)

    def render(self, agent: AgentSpec) -> Artifact:
        return Artifact(
            service_script(agent, "/etc/weft"),
            f"{agent.name}.sh",
            [
                f"run it as root, where weft and the program are installed: sudo sh {agent.name}.sh",
                f"weft service status --name {agent.name} shows whether the agent has joined",
            ],
        )


def service_script(agent: AgentSpec, folder: str) -> str:
    """A script that keeps the token in a folder and installs the service."""
    token_file = f"{folder}/{agent.name}.token"
    script = PosixScript()
    script.run(["mkdir", "-p", folder])
    script.write_secret(token_file, agent.token)
    script.run_last(install_words(agent, token_file))
    return script.text


def install_words(agent: AgentSpec, token_file: str) -> list[str]:
    """The command that installs the service."""
    options = agent.options
    words = [
        options["weft"],
        "service",
        "install",
        "--name",
        agent.name,
        "--replace",
        f"--token-file={token_file}",
    ]
    words += [f"--weft={options['weft']}"]
    words += [
        f"--{name.replace('_', '-')}={options[name]}" for name in ("folder", "run_as") if options.get(name)
    ]
    variables = agent.environment(WEFT_AGENT_ID=agent.name, WEFT_TLS_CA=agent.tls_ca)
    return [
        *words,
        *(f"--env={name}={value}" for name, value in variables.items()),
        "--",
        *agent.needed_command(),
    ]
