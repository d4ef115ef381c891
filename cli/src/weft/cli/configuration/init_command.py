"""`weft init`: writes a weft.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weft.cli.command_line.examples import examples
from weft.cli.process.loading import loading
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import line


@examples("weft init", "weft init /etc/weft/weft.toml")
def init(
    file: Annotated[
        Path, typer.Argument(metavar="[FILE]", help="The file to write.", show_default="weft.toml")
    ] = Path("weft.toml"),
) -> None:
    """Write a weft.toml with every setting, its description and its default, as comments. Nothing is overwritten."""
    with loading():
        from weft.cli.configuration.known_models import known_models
        from weft.cli.configuration.settings_template import template
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(template(known_models()))
    except FileExistsError:
        raise Failure(
            f"{file} exists, and is not overwritten", "Name another file, or move this one away."
        ) from None
    line(f"{file}: remove the # of a setting to change it; `weft config show` says what is in force")
