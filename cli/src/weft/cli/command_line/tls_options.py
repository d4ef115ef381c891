"""The options `--tls-…`, `--token-file` and `--namespace`, which every command has that dials or runs a process, and `--insecure`.

A command that is run with them has them as variables WEFT_TLS_*, WEFT_TOKEN_FILE, WEFT_NAMESPACE and WEFT_INSECURE, which connections, settings and child processes read. So they are
declared once, and no command passes them on.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.main

# Commands that run processes with ports.
SERVES = frozenset({"up", "coordinator", "agent"})
_VARIABLES = {
    "tls_ca": "WEFT_TLS_CA",
    "tls_cert": "WEFT_TLS_CERT",
    "tls_key": "WEFT_TLS_KEY",
    "tls_client_ca": "WEFT_TLS_CLIENT_CA",
    "tls_pin": "WEFT_TLS_PIN",
    "tls_join": "WEFT_TLS_JOIN",
    "token_file": "WEFT_TOKEN_FILE",
    "insecure": "WEFT_INSECURE",
    "namespace": "WEFT_NAMESPACE",
}
# An option takes the place of these, too.
_REPLACED = {"token_file": ("WEFT_TOKEN", "WEFT_AGENT_TOKEN")}


def _dialling(
    tls_ca: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|system", help="Use TLS, and verify others by these authorities (env WEFT_TLS_CA)."
        ),
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="The own certificate (env WEFT_TLS_CERT).")
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="Its private key (env WEFT_TLS_KEY).")
    ] = None,
    tls_pin: Annotated[
        str | None,
        typer.Option(
            metavar="sha256:HEX",
            help="Instead of files: join a mesh that makes certificates by itself, with the token (env WEFT_TLS_PIN).",
        ),
    ] = None,
    tls_join: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Join there, not at the port after the target's (env WEFT_TLS_JOIN)."
        ),
    ] = None,
    token_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Show the token in this file (env WEFT_TOKEN, WEFT_TOKEN_FILE)."),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The namespace of its calls (env WEFT_NAMESPACE)."),
    ] = None,
) -> None:
    """The options of every command that dials."""


def _serving(
    tls_client_ca: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Let only callers in that show a certificate of these authorities (env WEFT_TLS_CLIENT_CA).",
        ),
    ] = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help="Let ports be open to other machines without TLS and a check of callers (env WEFT_INSECURE).",
        ),
    ] = False,
) -> None:
    """The options of ports."""


def add_tls_options(name: str, command: Any) -> None:
    """Add the options to a command that has a target or a port; to those of a group, if it is one."""
    for each in getattr(command, "commands", {}).values():
        add_tls_options("", each)
    serves = name in SERVES
    if serves or any(param.name == "target" for param in command.params):
        command.params.extend(params_of(_dialling) + (params_of(_serving) if serves else []))
        command.callback = _with_variables(command.callback)


def _with_variables(run: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(run)
    def with_variables(**given: Any) -> Any:
        for option, variable in _VARIABLES.items():
            if value := given.pop(option, None):
                os.environ[variable] = "true" if value is True else value
                # The agent's own variable comes first, and an option comes before all variables.
                for other in (variable.replace("WEFT_", "WEFT_AGENT_", 1), *_REPLACED.get(option, ())):
                    os.environ.pop(other, None)
        return run(**given)

    return with_variables


def params_of(carrier: Callable[..., None]) -> list[Any]:
    """The options of a function that only carries them."""
    app = typer.Typer(add_completion=False)
    app.command()(carrier)
    return list(typer.main.get_command(app).params)
