"""The options `--config` and `--profile`, which every command has that reads settings, and the files that they choose."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from weft.cli.command_line.tls_options import SERVES, params_of
from weft.rpc.process.settings_files import CONFIG, PROFILE

_CHOSEN = "weft.settings_options"


def add_settings_options(name: str, command: Any) -> None:
    """Add the options to a command that has settings; to those of a group, if it is one."""
    for each in getattr(command, "commands", {}).values():
        add_settings_options(f"{name} {each.name}", each)
    names = {param.name for param in command.params}
    if name in SERVES or "target" in names or name == "config show":
        command.params.extend(params_of(_carrier))


def _chosen(ctx: typer.Context, param: typer.CallbackParam, value: str | None) -> str | None:
    """Take an option. After the last one, before all other options, the files are read."""
    if ctx.resilient_parsing:
        return value
    given: dict[str, str | None] = ctx.meta.setdefault(_CHOSEN, {})
    given[str(param.name).removeprefix("_")] = value
    if len(given) == len(_VARIABLES):
        for option, variable in _VARIABLES.items():
            if chosen := given[option]:
                os.environ[variable] = chosen
        _read_files(
            dials=ctx.info_name not in SERVES and any(each.name == "target" for each in ctx.command.params)
        )
    return value


_VARIABLES = {"config": CONFIG, "profile": PROFILE}


def _carrier(
    _config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="FILE|off",
            help="Read settings from this file; off: from no file (env WEFT_CONFIG). [default: weft.toml, if it exists]",
            callback=_chosen,
            is_eager=True,
            expose_value=False,
        ),
    ] = None,
    _profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="Use the file's tables [profile.NAME...] first (env WEFT_PROFILE).",
            callback=_chosen,
            is_eager=True,
            expose_value=False,
        ),
    ] = None,
) -> None:
    """The options of every command that has settings."""


def _read_files(*, dials: bool) -> None:
    """Put the files of the working folder, or those that were chosen, in force.

    Args:
        dials: the command is a client: its options read the client's settings as variables.

    Raises:
        Failure: a file cannot be used.
    """
    from weft.rpc.process.settings_files import SettingsFileFault, find, use

    try:
        files = find(Path(), os.environ)
    except SettingsFileFault as error:
        from weft.cli.terminal.failure import Failure

        raise Failure(str(error), status=2) from None
    use(files)
    if files is None:
        return
    from weft.cli.process.loading import loading
    from weft.cli.process.unread_variables import check_file

    check_file(files)
    if dials:
        with loading():
            from weft.cli.process.client_settings import put_in_environment

        put_in_environment()
