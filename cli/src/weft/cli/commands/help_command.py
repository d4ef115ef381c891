"""`weft help`: the same as `--help`."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli.terminal.examples import examples


@examples("weft help", "weft help tasks list")
def help_(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND...]", help="The command. [default: all of them]")
    ] = None,
) -> None:
    """Show the help of a command."""
    from weft.cli.main import app

    app([*(command or ()), "--help"], prog_name="weft")
