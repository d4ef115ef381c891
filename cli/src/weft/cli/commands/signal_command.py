"""`weft tasks signal`: send a signal to a task whose handler waits for it, or will."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line import completion, inputs
from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import json_text, line
from weft.rpc import bounded_json

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.client.task_steps import RecordedStep


@examples(
    "weft tasks signal 19859be730a6f94a approve",
    """weft tasks signal 19859be730a6f94a approve '{"by": "ann"}' --id ann-1""",
)
def signal(
    task_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the task.", autocompletion=completion.task_ids)
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    value: Annotated[
        str, typer.Argument(metavar="[JSON]", help="What it brings: JSON, @FILE or - (standard input).")
    ] = "",
    signal_id: Annotated[
        str, typer.Option("--id", metavar="ID", help="A repeat with the same name and id is stored once.")
    ] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Send a signal to a task.

    Its handler gets it when it waits for a signal of this name, also if it does so later.
    """
    from weft.cli.process.command_runner import run
    from weft.cli.rendering.step_view import step_document

    brought = _json(value) if value else None

    async def work(mesh: Mesh) -> RecordedStep:
        return await mesh.tasks.signal(task_id, name, brought, signal_id=signal_id)

    sent = run(target, work)
    if as_json:
        line(json_text(step_document(sent)))
    else:
        line(f"{task_id} {sent.name}")


def _json(source: str) -> Any:
    text = inputs.read_text(source)
    try:
        return bounded_json.loads(text)
    except ValueError as error:
        raise Failure(f"the value of a signal must be JSON: {error}", status=2) from None
