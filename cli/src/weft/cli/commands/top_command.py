"""`weft top`: the mesh on one screen, live."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Target
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import Styled, line
from weft.cli.terminal.tables import print_rows, room

if TYPE_CHECKING:
    from weft.cli.top.picture import Picture
    from weft.client import Mesh


@examples(
    "weft top",
    "weft top --once",
)
def top(
    interval_s: Annotated[
        float,
        typer.Option("--interval-s", metavar="S", min=0.2, max=3600, help="Seconds between two readings."),
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Watch the mesh: methods with their rates and times, agents, queues, running tasks and recent failures.

    Keys sort, filter, drain and pause agents, pause methods, cancel and open tasks: ? lists them, q ends. Without a terminal, one
    picture is printed.
    """
    from weft.cli.process.command_runner import run

    if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        _print(run(target, _picture))
        return
    try:
        from weft.cli.top.screen import Screen
    except ImportError:
        raise Failure("weft top needs a terminal as Unix has it; --once prints one picture") from None
    from weft.cli.top.top_loop import Top

    async def watch(mesh: Mesh) -> int:
        with Screen() as terminal:
            return await Top(mesh, terminal, interval_s).run()

    if ended_by := run(target, watch):
        raise typer.Exit(128 + ended_by)


async def _picture(mesh: Mesh) -> Picture:
    from weft.cli.top.picture import TABS, Picture
    from weft.cli.top.top_loop import read

    return await read(mesh, Picture(datetime.now(UTC), mesh.target), TABS)


def _print(picture: Picture) -> None:
    from weft.cli.top.picture import COLUMNS, TABS
    from weft.cli.top.top_view import head, printed

    if picture.problem:
        raise Failure(picture.problem)
    line(head(picture, room()))
    for tab in TABS:
        rows, more = printed(picture, tab)
        line("")
        line(Styled(tab, "bold"))
        print_rows(COLUMNS[tab], [row.cells for row in rows], f"no {tab}")
        if more:
            line(more)
