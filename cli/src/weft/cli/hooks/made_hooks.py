"""What commands that make hooks share: whether there is one, and its secret, which is read from a file, never from an argument, and shown once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line import inputs
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import json_text, line, remark

if TYPE_CHECKING:
    from weft.client import Mesh, NewSecret, Webhook

SecretFile = Annotated[
    str,
    typer.Option(
        "--secret-file",
        metavar="FILE|-",
        help="The secret, as the other system has it: a file, or - for standard input. [default: one is generated, and printed]",
    ),
]


def read_secret(source: str) -> str:
    """The secret in a file; empty: none is given."""
    if not source:
        return ""
    text = inputs.read_text("-" if source == "-" else f"@{Path(source)}").strip()
    if not text:
        raise Failure(f"there is no secret in {source}", status=2)
    return text


def print_secret(made: NewSecret, given: str, *, as_json: bool) -> None:
    from weft.cli.hooks.hook_view import document

    if as_json:
        line(json_text({**document(made.hook, full=True), "secret": None if given else made.secret}))
        return
    line(f"{made.hook.name}: {f'sends to {made.hook.url}' if made.hook.url else f'POST {made.hook.path}'}")
    if not given:
        line(f"secret: {made.secret}")
        remark("the secret is never shown again")


async def known(mesh: Mesh, name: str) -> bool:
    """Whether there is a hook of this name."""
    from weft.client import NotFound

    try:
        await mesh.hooks.get(name)
    except NotFound:
        return False
    return True


def print_made(made: NewSecret | Webhook, given: str, *, as_json: bool) -> None:
    """Print a new hook with its secret, or a changed one.

    Args:
        given: the secret, if the caller has given one.
    """
    from weft.client import NewSecret

    if isinstance(made, NewSecret):
        print_secret(made, given, as_json=as_json)
        return
    found, text = shown(made)
    line(json_text(found) if as_json else text)


def shown(hook: Webhook) -> tuple[dict[str, Any], str]:
    """A changed hook: as JSON, and as a line."""
    from weft.cli.hooks.hook_view import document

    state = "paused" if hook.paused else "sends" if hook.url else "takes requests"
    return document(hook), f"{hook.name} {state}"
