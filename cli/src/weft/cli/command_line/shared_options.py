"""Options that several commands share, and checks of their values."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli.terminal.streams import as_utf8

DEFAULT_TARGET = "127.0.0.1:7700"
TARGET_FORM = "HOST:PORT[,...]|URL"


def checked_target(text: str | None) -> str | None:
    """Check and normalize a `--target`.

    Raises:
        typer.BadParameter: it is not a target.
    """
    # Imported here: help is shown without gRPC.
    from weft.rpc.errors import InvalidArgument
    from weft.rpc.network.targets import parse

    try:
        return text and ",".join(parse(text))
    except InvalidArgument as error:
        raise typer.BadParameter(error.message) from None


Target = Annotated[
    str,
    typer.Option(
        "--target",
        envvar="WEFT_TARGET",
        metavar=TARGET_FORM,
        help="The coordinator's address; several are separated by commas. Or a source of addresses, such as consul://HOST:8500/weft.",
        show_default=True,
        callback=checked_target,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON: one document, or one document a line.")]

ShowSecrets = Annotated[
    bool,
    typer.Option(
        "--show-secrets", help="Show the values of secret fields, and payloads that no contract describes."
    ),
]


def pairs(values: list[str], option: str) -> dict[str, str]:
    """Parse KEY=VALUE texts into a dict.

    Raises:
        typer.BadParameter: a text has no "=" or no key.
    """
    return dict(key_values(values, option))


def key_values(values: list[str], option: str) -> list[tuple[str, str]]:
    """Parse KEY=VALUE texts into a list. Keys may be repeated."""
    found: list[tuple[str, str]] = []
    for text in values:
        key, equals, value = as_utf8(text).partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=option)
        found.append((key, value))
    return found
