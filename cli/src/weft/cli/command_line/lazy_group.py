"""A command group that imports a subcommand when it is used, so that `weft --help` answers at once."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from weft.cli.process.loading import loading

# Of every `typer.Typer` of the command. Help is plain: rendering it richly takes longer than all else together.
SETTINGS: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class CommandEntry(NamedTuple):
    """Where a subcommand is ("module:object", a function or a `typer.Typer`) and what the list says of it.

    `environment`: variables to set, unless they are, before anything is imported for it.
    """

    path: str
    help: str
    section: str
    environment: Mapping[str, str] = MappingProxyType({})


class LazyGroup(TyperGroup):
    """Lists `entries` by their one-line helps; loads the one that is called."""

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
        with loading():
            return name, load(name, entry.path), rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        width = max(map(len, self.entries))
        for section in dict.fromkeys(entry.section for entry in self.entries.values()):
            rows = [(n.ljust(width), e.help) for n, e in self.entries.items() if e.section == section]
            with formatter.section(section):
                formatter.write_dl(rows)


def load(name: str, path: str) -> Any:
    """The command (or group) at "module:object", under this name."""
    module, _, attribute = path.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, typer.Typer):
        group = typer.main.get_group(found)
        group.name = name
        return group
    app = typer.Typer(add_completion=False, **SETTINGS)
    app.command(name)(found)
    return typer.main.get_command(app)
