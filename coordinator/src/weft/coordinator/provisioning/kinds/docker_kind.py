"""`docker`: a command that starts a container."""

from __future__ import annotations

from weft.coordinator.provisioning.agent_spec import AgentSpec
from weft.coordinator.provisioning.provision_kind import Artifact, KindSetting
from weft.coordinator.provisioning.shell_text import PosixScript
from weft.rpc import refusals

# Longer than the agent gives its running handlers at SIGTERM (WEFT_AGENT_DRAIN_GRACE_S, 30).
STOP_S = 40
CA_FILE = "/etc/weft/ca.pem"
IMAGE_FORM = r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}"
IMAGE = KindSetting(
    "image",
    "the container image, which has weft and the agent's program",
    required=True,
    form=IMAGE_FORM,
    form_text="the name of an image",
)
APP_IMAGE = KindSetting(
    "app_image",
    "with app: the image of the app, which shares the agent's network",
    form=IMAGE_FORM,
    form_text="the name of an image",
)
CPUS = KindSetting(
    "cpus", "cores that the container may use", form=r"[0-9]+(\.[0-9]+)?", form_text="cores, such as 0.5"
)
MEMORY = KindSetting(
    "memory",
    "memory that the container may use",
    form="[1-9][0-9]*[kmg]?",
    form_text="bytes, or an amount such as 512m",
)


class DockerKind:
    """`docker run`. The token is in a variable, which `docker inspect` shows on that machine."""

    name = "docker"
    description = "A `docker run` command."
    most_replicas = 1
    first_number: int | None = None
    settings = (
        IMAGE,
        CPUS,
        MEMORY,
        KindSetting(
            "network",
            "the container's network; unless set, the host's if the target is on it",
            form=r"[A-Za-z0-9][A-Za-z0-9_.:-]*",
            form_text="the name of a network",
        ),
    )

    def render(self, agent: AgentSpec) -> Artifact:
        options = agent.options
        network = options.get("network") or ("host" if agent.stays_here else "")
        words = ["docker", "run", "--detach", "--name", agent.name, f"--stop-timeout={STOP_S}"]
        words += ["--restart=unless-stopped", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        words += [f"--{name}={options[name]}" for name in ("cpus", "memory") if options.get(name)]
        words += [f"--network={network}"] if network else ["--hostname", agent.name]
        words += _mount(agent.tls_ca)
        variables = agent.environment(
            WEFT_AGENT_ID=agent.name, WEFT_TLS_CA=CA_FILE if _is_file(agent.tls_ca) else agent.tls_ca
        )
        words += [word for pair in variables.items() for word in ("--env", "=".join(pair))]
        # By its name alone: docker takes the value from its own environment, and no list of processes shows it.
        words += ["--env", "WEFT_TOKEN", options["image"], *agent.command()]
        script = PosixScript()
        script.run(words, WEFT_TOKEN=agent.token)
        return Artifact(
            script.text,
            f"{agent.name}.sh",
            [
                f"run it where Docker runs: sh {agent.name}.sh",
                f"docker logs {agent.name} shows whether the agent has joined",
            ],
        )


def _is_file(tls_ca: str) -> bool:
    return bool(tls_ca) and tls_ca != "system"


def _mount(tls_ca: str) -> list[str]:
    if not _is_file(tls_ca):
        return []
    # The options of a mount are separated by commas, and quoted by quotes.
    if set(tls_ca) & set(',"'):
        raise refusals.invalid_field(
            "tls_ca is a path without commas and quotes, since it is a mount of Docker's",
            field="settings.tls_ca",
        )
    return ["--mount", f"type=bind,source={tls_ca},target={CA_FILE},readonly"]
