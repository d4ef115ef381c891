"""Options of pools' templates, which commands that make pools share."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line.option_group import with_option_group
from weft.cli.command_line.shared_options import pairs

if TYPE_CHECKING:
    from weft.client import Autoscale, PoolTemplate
    from weft.v1 import pool_pb2

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
_Least = Annotated[
    int, typer.Option("--min", metavar="N", min=0, max=200, help="Fewest members, with --max.")
]
_Most = Annotated[
    int | None,
    typer.Option(
        "--max", metavar="N", min=1, max=200, help="As many members as the work needs, and so many at most."
    ),
]
_PerMember = Annotated[
    int,
    typer.Option(
        "--per-member", metavar="N", min=0, help="So many tasks and direct calls for a member; 0: its slots."
    ),
]
_CoolDownS = Annotated[
    float | None,
    typer.Option("--cool-down-s", metavar="S", min=0, help="Fewer members only after so long. [default: 60]"),
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

    def onto(self, known: pool_pb2.PoolTemplate) -> PoolTemplate:
        """A template with the given options in the place of its own; variables, labels and settings are added."""
        from weft.client import PoolTemplate
        from weft.rpc.times import seconds

        given = self.template()
        # Of these one says what a member is.
        other = bool(given.program or given.app or given.command)
        ready, grace = given.ready_timeout_s, given.stop_grace_s
        if ready is None and known.HasField("ready_timeout"):
            ready = seconds(known.ready_timeout)
        if grace is None and known.HasField("stop_grace"):
            grace = seconds(known.stop_grace)
        return PoolTemplate(
            provider=known.provider,
            program=given.program if other else known.program,
            app=given.app if other else known.app,
            command=given.command if other else list(known.command),
            image=given.image or known.image,
            slots=given.slots or known.slots,
            labels={**known.labels, **given.labels},
            resources={**known.resources, **given.resources},
            environment={**known.environment, **given.environment},
            folder=given.folder or known.folder,
            settings={**known.settings, **given.settings},
            ready_timeout_s=ready,
            stop_grace_s=grace,
        )


@dataclass(frozen=True, kw_only=True)
class WorkOptions:
    """Options of pools that have as many members as the work needs."""

    least: _Least = 0
    most: _Most = None
    per_member: _PerMember = 0
    cool_down_s: _CoolDownS = None

    def autoscale(self) -> Autoscale | None:
        """None: it does not depend on the work.

        Raises:
            typer.BadParameter: there is no --max.
        """
        from weft.client import Autoscale

        if self.most is None:
            if self.least or self.per_member or self.cool_down_s is not None:
                raise typer.BadParameter(
                    "--max is needed too", param_hint="--min, --per-member, --cool-down-s"
                )
            return None
        return Autoscale(
            min=self.least,
            max=self.most,
            target_per_member=self.per_member,
            cool_down_s=self.cool_down_s,
        )


NO_TEMPLATE, NO_WORK = TemplateOptions(), WorkOptions()
with_work_options = with_option_group(WorkOptions, "work")
with_template_options = with_option_group(TemplateOptions, "template")


def _amounts(texts: list[str]) -> dict[str, float]:
    try:
        return {key: float(text) for key, text in pairs(texts, "--resource").items()}
    except ValueError:
        raise typer.BadParameter("an amount is a number, such as 2 or 8e9", param_hint="--resource") from None
