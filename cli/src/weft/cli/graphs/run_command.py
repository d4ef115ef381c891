"""`weft run`: run a graph of tasks by the planner of the mesh, and follow it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line import completion
from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target, pairs
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import block, json_text, line, remark

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from weft.cli.graphs.graph_file import GraphFile
    from weft.cli.graphs.planner_calls import Planner
    from weft.cli.graphs.run_view import RunProgress
    from weft.client import Mesh

_FORMS = {"text": "DRAW_FORMAT_TEXT", "mermaid": "DRAW_FORMAT_MERMAID"}
_LOOK_S = 0.5


def _checked_form(form: str | None) -> str | None:
    if form is not None and form not in _FORMS:
        raise typer.BadParameter(f"it must be {' or '.join(_FORMS)}, not {form!r}")
    return form


@examples(
    "weft run order.yaml --input card=4711",
    "weft run order.yaml --check",
    "weft run order.yaml --draw mermaid",
    "weft run --follow 19859be730a6f94a",
)
def run(
    file: Annotated[
        str, typer.Argument(metavar="[FILE|-]", help="The graph: YAML or JSON, or - (standard input).")
    ] = "",
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME=VALUE",
            help="An input: a text, or JSON if it is of another type. Repeatable.",
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Do not run it: say what is wrong with it.")] = False,
    draw: Annotated[
        str | None,
        typer.Option(metavar="text|mermaid", help="Do not run it: draw it.", callback=_checked_form),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait: print the id of the run.")] = False,
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", metavar="ID", help="Runs with the same id are one run."),
    ] = None,
    follow: Annotated[
        str,
        typer.Option(
            "--follow",
            metavar="ID",
            help="Follow a run that was begun before.",
            autocompletion=completion.task_ids,
        ),
    ] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Run a graph of tasks, and print its output.

    An agent of the mesh must host the planner: `weft agent --with planner`. The run is a task, and each of its steps is one: whatever is lost, it goes on. If
    this command is interrupted, the run goes on, too. The exit status is 1 if the run has failed.
    """
    if bool(file) == bool(follow):
        raise Failure("give the file of a graph, or --follow ID of a run", status=2)
    if follow and (given or check or draw or detach or request_id):
        raise Failure("--follow is for a run that has begun: leave out the other options", status=2)
    from weft.cli.graphs.graph_file import input_values, read_graph
    from weft.cli.graphs.planner_calls import Planner
    from weft.cli.process import command_runner

    graph = read_graph(file) if file else None
    inputs = {} if graph is None else input_values(pairs(given or [], "--input"), graph)

    async def work(mesh: Mesh) -> bool:
        planner = Planner(mesh, graph)
        if graph is None:
            return await follow_run(mesh, planner, follow, None, as_json=as_json)
        if check:
            return _print_problems(graph, await planner.problems(), as_json=as_json)
        if draw:
            block(await planner.drawing(_FORMS[draw]))
            return True
        run_id = await planner.submit(inputs, request_id)
        if detach:
            line(json_text({"task_id": run_id}) if as_json else run_id)
            return True
        return await follow_run(mesh, planner, run_id, graph, as_json=as_json)

    if not command_runner.run(target, work):
        raise typer.Exit(1)


def _print_problems(graph: GraphFile, found: list[dict[str, Any]], *, as_json: bool) -> bool:
    for each in found:
        place, message = str(each.get("place", "")), str(each.get("message", ""))
        if as_json:
            line(json_text({"place": place, "message": message, "at": graph.place(place)}))
        else:
            line(f"{graph.place(place)}: {message}")
    if not found:
        remark("the graph can be run")
    return not found


async def follow_run(
    mesh: Mesh, planner: Planner, run_id: str, graph: GraphFile | None, *, as_json: bool
) -> bool:
    """Wait for a run, show how far it is, and print its end. Returns False if it has failed."""
    from weft.cli.graphs.run_view import RunProgress, print_nodes, steps_of

    progress = RunProgress(run_id, None if graph is None else steps_of(graph.value.get("nodes")))
    if not as_json:
        remark(f"run {run_id}")
    try:
        async with _shown(mesh, progress):
            response = await planner.end(run_id)
    except asyncio.CancelledError:
        remark(f"the run goes on: weft run --follow {run_id}, or weft tasks cancel {run_id}")
        raise
    succeeded = response.get("state") == "RUN_STATE_SUCCEEDED"
    if as_json:
        line(json_text({"task_id": run_id} | response))
        return succeeded
    print_nodes(response)
    if succeeded:
        block(json_text(response.get("output"), indent=2))
    else:
        remark(f"the run has failed: {response.get('error', {}).get('message', '')}")
    return succeeded


@asynccontextmanager
async def _shown(mesh: Mesh, progress: RunProgress) -> AsyncIterator[None]:
    """Show how far a run is while the body waits."""
    from weft.cli.terminal.progress_line import progress_line
    from weft.rpc.errors import WeftError

    async def look_on() -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            # Only a picture: whatever is wrong, the wait itself says.
            with suppress(WeftError):
                await progress.look(mesh)

    async with progress_line(progress.state):
        looking = asyncio.create_task(look_on())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
