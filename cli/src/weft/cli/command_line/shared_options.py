"""Options that several commands share, and the values that they take."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli.terminal.streams import as_utf8

DEFAULT_TARGET = "127.0.0.1:7700"
TARGET_FORM = "HOST:PORT[,...]"


def checked_target(text: str | None) -> str | None:
    """A `--target` that is one.

    Raises:
        typer.BadParameter: it is not.
    """
    # Here, for the help is shown without gRPC.
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
        help="The coordinator, or several with commas.",
        show_default=True,
        callback=checked_target,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON: one document, or one line an item.")]


def pairs(values: list[str], option: str) -> dict[str, str]:
    """`k=v` texts as a dict.

    Raises:
        typer.BadParameter: one has no "=" or no key.
    """
    return dict(key_values(values, option))


def key_values(values: list[str], option: str) -> list[tuple[str, str]]:
    """The same as a list, where keys may be there more than once."""
    found: list[tuple[str, str]] = []
    for text in values:
        key, equals, value = as_utf8(text).partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint=option)
        found.append((key, value))
    return found
