"""What a command is given: JSON from the command line, a file or standard input, and the method that it is for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.failures import Failure

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.client.contract import ResolvedMethod

MethodName = Annotated[str, typer.Argument(metavar="METHOD", help="Full name: pkg.Service/Method.")]
JsonInput = Annotated[
    str,
    typer.Argument(
        metavar="[JSON|@FILE|-]", help="The request as JSON, a file that holds it, or - for stdin."
    ),
]
Metadata = Annotated[
    list[str] | None,
    typer.Option("--metadata", metavar="KEY=VALUE", help="Metadata for the handler; repeatable."),
]
Priority = Annotated[int | None, typer.Option(metavar="0-9", help="Higher first. [default: 5]")]
DelayS = Annotated[
    float | None, typer.Option("--delay-s", metavar="S", help="Start it so many seconds later.")
]
RequestId = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Idempotency key: the same id with the same request is one task."),
]
Require = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="A label, or KEY>=AMOUNT, that the agent must have; repeatable."),
]


def read_text(source: str) -> str:
    """The text that an argument stands for: itself, a file's (@FILE), or standard input's (-)."""
    if source == "-":
        return sys.stdin.read()
    if source.startswith("@"):
        try:
            return Path(source[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"cannot read {source[1:]}: {error}", status=2) from None
    return source


def read_lines(source: str) -> Iterator[tuple[int, str]]:
    """The lines of a JSONL text, with their numbers; blank ones left out."""
    for number, text in enumerate(read_text(source).splitlines(), start=1):
        if text.strip():
            yield number, text


async def resolve(mesh: Mesh, name: str, *, durable: bool = True) -> ResolvedMethod:
    """The method, by the coordinator's reflection; with `durable` one that can be a task.

    Raises:
        Failure: there is none of this name (with those that are near), or it cannot be a task.
    """
    from weft.client.contract import ContractReader
    from weft.rpc.errors import NotFound

    try:
        method = await ContractReader(mesh.channel()).resolve(name.removeprefix("/"))
    except NotFound as error:
        raise Failure(error.message, status=2) from None
    if durable and not method.durable:
        raise Failure(
            f"{method.name} takes a stream of requests; only methods with a single request can be tasks",
            "`weft call --direct` sends a stream to an agent, one JSON a line.",
            status=2,
        )
    return method


def request_bytes(method: ResolvedMethod, text: str, place: str = "") -> bytes:
    """The serialized request of JSON text; `place` says where it stands, for the message.

    Raises:
        Failure: it is not JSON, or does not fit the method's request.
    """
    from weft.rpc.errors import InvalidArgument

    try:
        return method.request_from_json(text)
    except InvalidArgument as error:
        raise Failure(f"{place}{error.message}", status=2) from None


def requirements(values: list[str]) -> tuple[dict[str, str], dict[str, float]]:
    """`zone=eu` and `gpu>=1` as labels and resources."""
    labels: dict[str, str] = {}
    resources: dict[str, float] = {}
    for text in values:
        key, at_least, amount = text.partition(">=")
        if at_least:
            try:
                resources[key] = float(amount)
            except ValueError:
                raise typer.BadParameter(f"{amount!r} is not a number", param_hint="--require") from None
            continue
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE or KEY>=AMOUNT", param_hint="--require")
        labels[key] = value
    return labels, resources
