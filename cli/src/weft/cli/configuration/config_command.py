"""`weft config`: shows the settings in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import Json
from weft.cli.process.loading import loading
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import json_text, line
from weft.cli.terminal.tables import Column, print_rows
from weft.rpc.process.settings_files import SERVICES, TABLES

if TYPE_CHECKING:
    from weft.rpc.process.file_settings import FileSettings

_HELP = with_examples(
    "Show the settings of the processes that are started in this folder.",
    "weft config show",
    "weft config show agent --profile prod",
)
app = typer.Typer(name="config", help=_HELP, no_args_is_help=True, **SETTINGS)
_COLUMNS = (Column("setting"), Column("value", below=True), Column("from", below=True))
_AT_THE_START = "(chosen at the start)"


@app.callback(help=_HELP)
def _config() -> None:
    """Keeps `show` a subcommand."""


@app.command()
@examples("weft config show", "weft config show coordinator --json")
def show(
    part: Annotated[
        str | None,
        typer.Argument(metavar="[coordinator|agent|sidecar|client|services.NAME]", help="Only this table."),
    ] = None,
    json_: Json = False,
) -> None:
    """Show every setting: its value and where that came from. Secrets are not shown.

    Options of the processes, and arguments in programs, come before all of these.
    """
    if part is not None and part not in TABLES and not part.startswith(f"{SERVICES}."):
        raise typer.BadParameter(f"{part!r} is not one of {', '.join(TABLES)}, {SERVICES}.NAME")
    with loading():
        from weft.cli.configuration.known_models import known_models
        from weft.rpc.process.extras import require

    if part in {"coordinator", "agent", "sidecar"}:
        require("coordinator" if part == "coordinator" else "agent")
    models = {table: model for table, model in known_models().items() if part in (None, table)}
    if part is not None and not models:
        raise typer.BadParameter(f"no service named {part.partition('.')[2]!r} is installed")
    found = {table: _facts(table, model) for table, model in models.items()}
    if json_:
        line(json_text(found))
        return
    for number, (table, facts) in enumerate(found.items()):
        if number:
            line("")
        line(f"[{table}]")
        rows = [(name, fact["value"], fact["place"] or fact["source"]) for name, fact in facts.items()]
        print_rows(_COLUMNS, rows, "it has no settings")


def _facts(table: str, model: type[FileSettings]) -> dict[str, dict[str, Any]]:
    """Setting -> its value as text, and where it came from.

    Raises:
        Failure: a setting has a wrong value.
    """
    from pydantic import ValidationError

    try:
        settings = model()
    except ValidationError as error:
        raise Failure(f"bad settings of the {table}", *map(str, model.faults(error, {})), status=2) from None
    found: dict[str, dict[str, Any]] = {}
    for name, field in model.model_fields.items():
        origin = model.origin(name)
        drawn = origin.source == "default" and field.default_factory not in (None, dict)
        value = _AT_THE_START if drawn else settings.shown(name)
        found[name] = {"value": value, "source": origin.source, "place": origin.place}
    return found
