"""A command group that imports a subcommand when it is used, so that `weft --help` is fast."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from weft.cli.command_line.settings_options import add_settings_options
from weft.cli.command_line.tls_options import add_tls_options
from weft.cli.process.loading import loading

# The settings of every `typer.Typer`. Help is plain text: rich text takes longer than everything else together.
SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class CommandEntry(NamedTuple):
    """One subcommand of the list.

    Args:
        path: "module:object" of a function or a `typer.Typer`.
        environment: variables to set before the module is imported, unless they are set already.
    """

    path: str
    help: str
    section: str
    environment: Mapping[str, str] = MappingProxyType({})


class LazyGroup(TyperGroup):
    """Lists `entries` with their one-line help; loads the entry that is called. The context's object is called before that."""

    entries: ClassVar[Mapping[str, CommandEntry]] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, entry in self.entries.items():
            self.add_command(TyperCommand(name, help=entry.help))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name is None:
            return name, command, rest
        entry = self.entries[name]
        for variable, value in entry.environment.items():
            os.environ.setdefault(variable, value)
        if callable(ctx.obj):
            # It may import much, which must find these variables.
            ctx.obj()
        with loading():
            return name, load(name, entry.path), rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        width = max(map(len, self.entries))
        for section in dict.fromkeys(entry.section for entry in self.entries.values()):
            rows = [(n.ljust(width), e.help) for n, e in self.entries.items() if e.section == section]
            with formatter.section(section):
                formatter.write_dl(rows)


def load(name: str, path: str) -> Any:
    """Import the command or group at "module:object" and give it this name."""
    module, _, attribute = path.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, typer.Typer):
        group: Any = typer.main.get_group(found)
        group.name = name
    else:
        app = typer.Typer(add_completion=False, **SETTINGS)
        app.command(name)(found)
        group = typer.main.get_command(app)
    add_tls_options(name, group)
    add_settings_options(name, group)
    return group
