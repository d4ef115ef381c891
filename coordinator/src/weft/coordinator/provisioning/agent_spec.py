"""An agent that is to be started somewhere: its ids, its token, and its settings as variables. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.rpc import refusals
from weft.rpc.network.agent_ports import stays_here
from weft.rpc.network.targets import parse


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What a kind makes a text of. All values are printable texts, and nothing else is known of them.

    Attributes:
        name: of the agent, or of its replicas: a DNS label.
        ids: the ids of its replicas.
        token: the text of the join token.
        target: the coordinator's addresses.
        program: MODULE:OBJECT. Empty: none.
        app: the address of an app, for a sidecar. Empty: none.
        tls_ca: the authorities of the coordinator, as the kind's setting says. Empty: none.
        variables: of the agent's environment, apart from its id, its token and `tls_ca`.
        options: the kind's own settings, with their defaults.
    """

    name: str
    ids: tuple[str, ...]
    token: str = field(repr=False)
    target: str
    program: str = ""
    app: str = ""
    tls_ca: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def stays_here(self) -> bool:
        """Whether the coordinator is on the agent's own machine."""
        return all(map(stays_here, parse(self.target)))

    def environment(self, **more: str) -> dict[str, str]:
        """The variables of an agent.

        Args:
            more: others, by name; empty ones are left out.
        """
        return dict(self.variables) | {name: value for name, value in more.items() if value}

    def command(self) -> list[str]:
        """The words after `weft`. Empty: those of the container image."""
        if self.program:
            return ["agent", self.program]
        return ["agent", "--app", self.app] if self.app else []

    def needed_command(self) -> list[str]:
        """The same, where there is no image that has its own.

        Raises:
            InvalidArgument: neither `program` nor `app` is set.
        """
        if not self.command():
            raise refusals.invalid_field(
                "say what the agent hosts: program=MODULE:OBJECT, or app=HOST:PORT for a sidecar",
                field="settings.program",
            )
        return self.command()
