"""`weft queues ...`: what waits where; pause and resume methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import moments
from weft.cli.lazy import SETTINGS
from weft.cli.options import DEFAULT_TARGET, Json, Target
from weft.cli.output import Styled, Words, json_text, line
from weft.cli.tables import Column, print_rows

if TYPE_CHECKING:
    from weft.client import Mesh, Queue

app = typer.Typer(help="List queues; pause and resume methods.", invoke_without_command=True, **SETTINGS)

MethodName = Annotated[str, typer.Argument(metavar="METHOD", help="Full name: pkg.Service/Method.")]
_COLUMNS = (
    Column("method"),
    Column("requirements", below=True),
    Column("queued", right=True),
    Column("scheduled", right=True),
    Column("running", right=True),
    Column("agents", right=True),
    Column("oldest", right=True),
    Column(""),
)


@app.callback()
def queues(context: typer.Context, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """List queues; pause and resume methods."""
    if context.invoked_subcommand is None:
        list_queues(target=target, as_json=as_json)


@app.command("list")
def list_queues(
    method: Annotated[str, typer.Option(metavar="METHOD", help="Only queues of this method.")] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """List the queues that hold tasks, are paused, or belong to a hosted method."""
    from weft.cli.running import run

    async def work(mesh: Mesh) -> list[Queue]:
        return list(await mesh.fleet.queues(method))

    _print(run(target, work), as_json=as_json)


@app.command()
def pause(method: MethodName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Dispatch nothing of a method, until it is resumed. Tasks are still taken."""
    from weft.cli.running import run

    async def work(mesh: Mesh) -> list[Queue]:
        return list(await mesh.fleet.pause(method))

    _print(run(target, work), as_json=as_json)


@app.command()
def resume(method: MethodName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Dispatch a method's tasks again."""
    from weft.cli.running import run

    async def work(mesh: Mesh) -> list[Queue]:
        return list(await mesh.fleet.resume(method))

    _print(run(target, work), as_json=as_json)


def _print(found: list[Queue], *, as_json: bool) -> None:
    from weft.cli.documents import queue_document

    if as_json:
        line(json_text([queue_document(queue) for queue in found]))
        return
    print_rows(_COLUMNS, [_row(queue) for queue in found], "no queues")


def _row(queue: Queue) -> list[Words]:
    return [
        queue.method,
        queue.requirements,
        str(queue.queued),
        str(queue.scheduled),
        str(queue.running),
        str(queue.agents),
        moments.span(queue.oldest_age_s) if queue.queued else "",
        Styled("paused", "yellow") if queue.paused else "",
    ]
