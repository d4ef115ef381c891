"""Options of pools' templates, which commands that make pools share."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line.option_group import with_option_group
from weft.cli.command_line.shared_options import pairs

if TYPE_CHECKING:
    from weft.client import PoolTemplate

_Program = Annotated[
    str,
    typer.Argument(metavar="[MODULE:OBJECT]", help="What members host: a weft.agent.Agent."),
]
_App = Annotated[
    str,
    typer.Option(
        metavar="HOST:PORT|unix:PATH",
        help="Instead: a gRPC server beside each member, whose methods it hosts.",
    ),
]
_Command = Annotated[
    str,
    typer.Option(
        metavar="WORDS", help="Instead: the command of an agent in any language, such as 'node agent.js'."
    ),
]
_Image = Annotated[str, typer.Option(metavar="IMAGE", help="The image of a container.")]
_Provider = Annotated[str, typer.Option(metavar="NAME", help="How members are run (weft pools providers).")]
_Slots = Annotated[
    int, typer.Option(metavar="N", min=0, help="Calls that a member runs at a time; 0: by its cores.")
]
_Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label of the members.")
]
_Resources = Annotated[
    list[str] | None, typer.Option("--resource", metavar="KEY=AMOUNT", help="A resource of the members.")
]
_Environment = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="NAME=VALUE", help="A variable of the members' environment."),
]
_Folder = Annotated[
    str, typer.Option(metavar="PATH", help="Where members run. [default: the coordinator's folder]")
]
_Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the provider.")
]
_ReadyS = Annotated[
    float | None,
    typer.Option(
        "--ready-s", metavar="S", min=1, help="A member not ready by then counts as failed. [default: 60]"
    ),
]
_GraceS = Annotated[
    float | None,
    typer.Option(
        "--grace-s", metavar="S", min=0, help="A stopped member may finish what it runs. [default: 30]"
    ),
]


@dataclass(frozen=True, kw_only=True)
class TemplateOptions:
    """A field for each option; its name is the option's name."""

    program: _Program = ""
    app: _App = ""
    command: _Command = ""
    image: _Image = ""
    provider: _Provider = "process"
    slots: _Slots = 0
    label: _Labels = None
    resource: _Resources = None
    env: _Environment = None
    folder: _Folder = ""
    settings: _Settings = None
    ready_s: _ReadyS = None
    grace_s: _GraceS = None

    def template(self) -> PoolTemplate:
        """The template.

        Raises:
            typer.BadParameter: a value has the wrong form.
        """
        from weft.client import PoolTemplate

        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--command") from None
        return PoolTemplate(
            provider=self.provider,
            program=self.program,
            app=self.app,
            command=words,
            image=self.image,
            slots=self.slots,
            labels=pairs(self.label or [], "--label"),
            resources=_amounts(self.resource or []),
            environment=pairs(self.env or [], "--env"),
            folder=self.folder,
            settings=pairs(self.settings or [], "--set"),
            ready_timeout_s=self.ready_s,
            stop_grace_s=self.grace_s,
        )


NO_TEMPLATE = TemplateOptions()
with_template_options = with_option_group(TemplateOptions, "template")


def _amounts(texts: list[str]) -> dict[str, float]:
    try:
        return {key: float(text) for key, text in pairs(texts, "--resource").items()}
    except ValueError:
        raise typer.BadParameter("an amount is a number, such as 2 or 8e9", param_hint="--resource") from None
