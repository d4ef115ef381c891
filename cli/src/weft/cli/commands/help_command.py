"""`weft help`: the same as `--help`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from weft.cli.command_line.examples import examples


@examples("weft help", "weft help tasks list")
def help_(
    context: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="The command. [default: all of them]")
    ] = None,
) -> None:
    """Show the help of a command."""
    weft: Any = context.find_root().command
    weft([*(command or ()), "--help"], prog_name="weft")
