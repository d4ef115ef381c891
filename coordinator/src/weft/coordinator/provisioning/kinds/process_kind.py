"""`process`: a script that runs the agent in the foreground, in a POSIX shell."""

from __future__ import annotations

from weft.coordinator.provisioning.agent_spec import AgentSpec
from weft.coordinator.provisioning.provision_kind import Artifact, KindSetting
from weft.coordinator.provisioning.shell_text import PosixScript


class ProcessKind:
    """For a terminal, a supervisor of one's own, and tests."""

    name = "process"
    description = "A shell script that runs the agent in the foreground."
    most_replicas = 1
    first_number: int | None = None
    settings = (
        KindSetting("weft", "the command weft on that machine", default="weft"),
        KindSetting("folder", "where the file with the token is written", default="."),
    )

    def render(self, agent: AgentSpec) -> Artifact:
        token_file = f"{agent.options['folder']}/{agent.name}.token"
        script = PosixScript()
        script.write_secret(token_file, agent.token)
        script.export(
            agent.environment(
                WEFT_AGENT_ID=agent.name,
                WEFT_TOKEN_FILE=token_file,
                WEFT_TLS_CA=agent.tls_ca,
            )
        )
        script.run_last([agent.options["weft"], *agent.needed_command()])
        return Artifact(
            script.text,
            f"{agent.name}.sh",
            [
                f"run it where the agent's program is: sh {agent.name}.sh",
                f"it writes the token to {token_file}; the agent reads that file again when it changes",
            ],
        )
