"""The options `--tls-…`, which every command has that dials or runs a process.

They set the variables WEFT_TLS_* of this process, which connections, settings and child processes read. So they are declared
once, and no command passes them on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
import typer.main

# Commands that run processes with ports.
_SERVES = frozenset({"up", "coordinator", "agent"})


def _sets(variable: str) -> Callable[[str], str]:
    def remember(value: str) -> str:
        if value:
            os.environ[variable] = value
            # The agent's own variable comes first, and an option comes before all variables.
            os.environ.pop(variable.replace("WEFT_", "WEFT_AGENT_", 1), None)
        return value

    return remember


def _dialling(
    _ca: Annotated[
        str,
        typer.Option(
            "--tls-ca",
            metavar="FILE|system",
            help="Use TLS, and verify others by these authorities (env WEFT_TLS_CA).",
            callback=_sets("WEFT_TLS_CA"),
            expose_value=False,
        ),
    ] = "",
    _cert: Annotated[
        str,
        typer.Option(
            "--tls-cert",
            metavar="FILE",
            help="The own certificate (env WEFT_TLS_CERT).",
            callback=_sets("WEFT_TLS_CERT"),
            expose_value=False,
        ),
    ] = "",
    _key: Annotated[
        str,
        typer.Option(
            "--tls-key",
            metavar="FILE",
            help="Its private key (env WEFT_TLS_KEY).",
            callback=_sets("WEFT_TLS_KEY"),
            expose_value=False,
        ),
    ] = "",
) -> None:
    """The options of every command that dials."""


def _serving(
    _client_ca: Annotated[
        str,
        typer.Option(
            "--tls-client-ca",
            metavar="FILE",
            help="Let only callers in that show a certificate of these authorities (env WEFT_TLS_CLIENT_CA).",
            callback=_sets("WEFT_TLS_CLIENT_CA"),
            expose_value=False,
        ),
    ] = "",
) -> None:
    """The option of ports."""


def add_tls_options(name: str, command: Any) -> None:
    """Add the options to a command that has a target or a port; to those of a group, if it is one."""
    for each in getattr(command, "commands", {}).values():
        add_tls_options("", each)
    serves = name in _SERVES
    if serves or any(param.name == "target" for param in command.params):
        command.params.extend(_params(_dialling) + (_params(_serving) if serves else []))


def _params(carrier: Callable[..., None]) -> list[Any]:
    """The options of a function that only carries them."""
    app = typer.Typer(add_completion=False)
    app.command()(carrier)
    made: Sequence[Any] = typer.main.get_command(app).params
    return list(made)
