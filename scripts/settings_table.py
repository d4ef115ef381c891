"""Write docs/settings.md from the settings models: `python scripts/settings_table.py` (or `--check` to compare only).

The models have a setting's name, range, default and description, and enforce them. Nothing is written twice.
"""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from weft.cli.configuration.known_models import known_models
from weft.rpc.process.file_settings import FileSettings

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "settings.md"


INTRODUCTION = """\
# Settings

Written by `make settings` from the settings models; `make check` refuses a stale page.

A flag of the command, or an argument in code, wins over the environment variable, that over the same variable in `.env`, that over
the setting in the part's table of `weft.toml`, and that over the default: [Settings from files](how-to/settings-files.md). A value
outside its range is refused at the start. `WEFT_CONFIG` names another file, or is `off`; `WEFT_PROFILE` chooses a profile in it.
Coordinators and agents also read the standard variables of OpenTelemetry, `OTEL_*`: [Traces](how-to/traces.md).
"""

_PLAIN_TYPES: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    SecretStr: "secret text",
    Path: "path",
    tuple[str, ...]: "list with commas",
    dict[str, str]: "`key=value` with commas, or JSON",
    dict[str, float]: "`key=number` with commas, or JSON",
}
_UNITS = {"_s": "seconds", "_bytes": "bytes"}


class Undescribed(Exception):
    """A setting without a description, or of a type that this script has no words for."""


def page() -> str:
    return INTRODUCTION + "".join(section(title_of(table), model) for table, model in known_models().items())


def title_of(table: str) -> str:
    """The heading of a table: those of services say so."""
    part, _, service = table.partition(".")
    return f"Service {service}" if service else part.capitalize()


def section(title: str, model: type[FileSettings]) -> str:
    """The heading and the table of one model."""
    head = f"\n## {title}\n\nIn `weft.toml`: `[{model.table}]`.\n\n| `weft.toml` | environment variable | type | default | meaning |\n|---|---|---|---|---|\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows(model))


def rows(model: type[FileSettings]) -> Iterator[tuple[str, ...]]:
    """One row a setting, in the model's order.

    Raises:
        Undescribed: a setting says too little about itself.
    """
    for name, field in model.model_fields.items():
        if not field.description:
            raise Undescribed(f"{model.__name__}.{name} has no description")
        variables = ", ".join(f"`{variable}`" for variable in model.variables(name))
        meaning = " ".join(field.description.split()).replace("|", "\\|")
        yield f"`{name}`", variables, type_of(model, name, field), default_of(field), meaning


def type_of(model: type[FileSettings], name: str, field: FieldInfo) -> str:
    """The allowed values, with unit and bounds."""
    kind = field.annotation
    if get_origin(kind) in {Union, types.UnionType}:
        (kind,) = (part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if kind in {int, float}:
        plain = "whole number" if kind is int else "number"
        unit = next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), plain)
        return unit + bounds(field)
    if kind not in _PLAIN_TYPES:
        raise Undescribed(f"{model.__name__}.{name}: no words for the type {kind}")
    return _PLAIN_TYPES[kind]


def bounds(field: FieldInfo) -> str:
    low = next((number(rule.ge) for rule in field.metadata if isinstance(rule, annotated_types.Ge)), "")
    high = next((number(rule.le) for rule in field.metadata if isinstance(rule, annotated_types.Le)), "")
    if low and high:
        return f", {low} to {high}"
    return f", at least {low}" if low else f", at most {high}" if high else ""


def default_of(field: FieldInfo) -> str:
    """The default as a user would write it. The default of a factory is in the description."""
    if field.default_factory is not None:
        return "none" if field.default_factory is dict else "chosen at the start"
    value = ",".join(field.default) if isinstance(field.default, tuple) else field.default
    if value is None or value == "":
        return "none"
    return f"`{number(value)}`"


def number(value: Any) -> str:
    """The number as text, without the `.0` of a float."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the committed page is stale")
    check = parser.parse_args().check
    try:
        fresh = page()
    except Undescribed as error:
        print(error, file=sys.stderr)
        return 1
    if not check:
        PAGE.write_text(fresh)
    elif not PAGE.exists() or PAGE.read_text() != fresh:
        print(f"{PAGE.relative_to(ROOT)} is stale: run `make settings`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
