"""What a kind of provisioning is: a name, its settings, and a function from an agent's spec to a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from weft.coordinator.provisioning.agent_spec import AgentSpec


class KindSetting(NamedTuple):
    """A setting of a kind.

    Attributes:
        name: as operators give it. One that ends with ".*" stands for many.
        form: a regular expression that the whole value matches. Empty: any printable text.
        form_text: the same in words, for the refusal: "a number of cores, such as 0.5".
    """

    name: str
    description: str
    default: str = ""
    required: bool = False
    form: str = ""
    form_text: str = ""


class Artifact(NamedTuple):
    """What starts an agent.

    Attributes:
        text: the script or manifest, with the token.
        file_name: a name for a file with the text.
        steps: what to do with the file, in words and commands.
        warnings: what may keep it from working.
    """

    text: str
    file_name: str
    steps: Sequence[str]
    warnings: Sequence[str] = ()


class ProvisionKind(Protocol):
    """A way to run an agent. A package adds one as an entry point of the group `weft.providers`."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str:
        """What it writes, in a sentence."""
        ...

    @property
    def settings(self) -> Sequence[KindSetting]:
        """Its settings, beside those of every kind."""
        ...

    @property
    def most_replicas(self) -> int:
        """How many agents one text can start; above 1, the kind has the setting `replicas`."""
        ...

    @property
    def first_number(self) -> int | None:
        """Where replicas begin to be numbered, as "NAME-0". None: a lone agent has the name itself, and several begin with 1."""
        ...

    def render(self, agent: AgentSpec) -> Artifact:
        """Write the text. Pure. Runs in a thread, and has 10 s.

        Each value is to be quoted for where it stands: it may be any printable text.

        Raises:
            WeftError: by `refusals.invalid_field`: the spec does not suit this kind.
        """
        ...
