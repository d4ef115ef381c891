"""`weft queues ...`: list queues; pause and resume methods."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import typer

from weft.cli.command_line import inputs
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal import moments
from weft.cli.terminal.output import Styled, StyledText, json_text, line
from weft.cli.terminal.tables import Column, print_rows
from weft.rpc.contracts import names

if TYPE_CHECKING:
    from weft.client import Mesh, Queue

_HELP = with_examples(
    "List queues; pause and resume methods.",
    "weft queues",
    "weft queues pause Greeter/Greet",
)
app = typer.Typer(help=_HELP, invoke_without_command=True, **SETTINGS)

_COLUMNS = (
    Column("method"),
    Column("requirements", below=True),
    Column("queued", right=True),
    Column("scheduled", right=True),
    Column("running", right=True),
    Column("agents", right=True),
    Column("oldest", right=True),
    Column(""),
    Column("waits for", below=True, cut=True),
)


@app.callback(help=_HELP)
def queues(context: typer.Context, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """List queues; pause and resume methods."""
    if context.invoked_subcommand is None:
        list_queues(target=target, as_json=as_json)


@app.command("list")
@examples(
    "weft queues list",
    "weft queues list --method Greeter/Greet --json",
)
def list_queues(
    method: inputs.MethodFilter = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """List queues. A queue is listed if it has tasks, is paused, or belongs to a hosted method."""
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> list[Queue]:
        found = list(await mesh.fleet.queues())
        if not method:
            return found
        of = inputs.one_of(method, {queue.method for queue in found})
        return [queue for queue in found if queue.method == of]

    _print(run(target, work), as_json=as_json)


@app.command()
@examples(
    "weft queues pause Greeter/Greet",
)
def pause(method: inputs.MethodName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Pause a method. Its tasks are not dispatched until it is resumed; new tasks are still stored."""
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> list[Queue]:
        return list(await mesh.fleet.pause(await inputs.queue_method(mesh, method)))

    _print(run(target, work), as_json=as_json)


@app.command()
@examples(
    "weft queues resume Greeter/Greet",
)
def resume(method: inputs.MethodName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Resume a method. Its tasks are dispatched again."""
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> list[Queue]:
        return list(await mesh.fleet.resume(await inputs.queue_method(mesh, method)))

    _print(run(target, work), as_json=as_json)


def _print(found: list[Queue], *, as_json: bool) -> None:
    from weft.cli.rendering.documents import queue_document

    if as_json:
        line(json_text([queue_document(queue) for queue in found]))
        return
    methods = {queue.method for queue in found}
    # Services with the same name in different packages are shown with their packages.
    shared = {short for short, count in Counter(map(names.short, methods)).items() if count > 1}
    rows = [
        [queue.method if (short := names.short(queue.method)) in shared else short, *_row(queue)]
        for queue in found
    ]
    print_rows(_COLUMNS, rows, "no queues")


def _row(queue: Queue) -> list[StyledText]:
    return [
        queue.requirements,
        str(queue.queued),
        str(queue.scheduled),
        str(queue.running),
        str(queue.agents),
        moments.span(queue.oldest_age_s) if queue.queued else "",
        Styled("paused", "yellow") if queue.paused else "",
        "" if queue.paused else queue.waits_for,
    ]
