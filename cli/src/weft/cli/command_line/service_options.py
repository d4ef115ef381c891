"""The option by which agents host services that are installed: `--with hardware,models`."""

from __future__ import annotations

from typing import Annotated

import typer

Services = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="NAME,…",
        help="Host installed services, such as hardware, beside the program or alone; repeatable.",
    ),
]


def service_names(given: list[str] | None) -> list[str]:
    """The names in the option's values, each once."""
    names = [name.strip() for text in given or () for name in text.split(",")]
    return list(dict.fromkeys(name for name in names if name))
