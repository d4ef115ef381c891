"""`weft plan`: make a graph of a goal in words, show it, write it to a file, or run it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target, pairs
from weft.cli.terminal.failure import Failure, system_reason
from weft.cli.terminal.output import block, json_text, line, prompt, remark
from weft.cli.terminal.streams import as_utf8

if TYPE_CHECKING:
    from weft.cli.graphs.graph_file import GraphFile
    from weft.client import Mesh


@examples(
    "weft plan 'reserve item=desk, then charge card=4711' --dry-run",
    "weft plan 'reserve item=desk, then charge card=4711' --output order.yaml",
    "weft plan 'look at all machines and suggest what to do' --method hardware --yes",
)
def plan(
    goal: Annotated[str, typer.Argument(metavar="GOAL", help="What is to be done, in words.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the graph, and do not run it.")] = False,
    output: Annotated[
        str,
        typer.Option("--output", metavar="FILE", help="Write the graph to this file, and do not run it."),
    ] = "",
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--method", metavar="TEXT", help="Use only methods whose full names have this text. Repeatable."
        ),
    ] = None,
    rules_only: Annotated[bool, typer.Option("--rules", help="Ask no model: make it by rules.")] = False,
    model: Annotated[str, typer.Option(metavar="NAME", help="The model that is asked.")] = "",
    given: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME=VALUE", help="An input of the graph. Repeatable."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Run it without asking.")] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Make a graph of tasks for a goal, show it with its reasons, and run it.

    An agent of the mesh must host the planner: `weft agent --with planner`. If an agent hosts models (`--with models`), a model makes the graph, else rules do. On a
    terminal the command asks before it runs anything; elsewhere it runs with --yes alone.
    """
    from weft.cli.graphs.graph_file import input_values
    from weft.cli.graphs.planner_calls import Planner
    from weft.cli.graphs.run_command import follow_run
    from weft.cli.process import command_runner

    asked: dict[str, Any] = {
        "goal": as_utf8(goal),
        "methods": [as_utf8(each) for each in methods or ()],
        "rulesOnly": rules_only,
        "model": as_utf8(model),
    }
    values = pairs(given or [], "--input")
    runs = not (dry_run or output)
    if runs and not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Failure("nobody can be asked here: add --dry-run, --output FILE or --yes", status=2)

    async def work(mesh: Mesh) -> bool:
        made = await Planner(mesh, None).planned(asked)
        graph = _as_file(made)
        planner = Planner(mesh, graph)
        if as_json and not runs:
            line(json_text(made))
        else:
            block(await planner.drawing("DRAW_FORMAT_TEXT"))
            for reason in made.get("reasons", ()):
                remark(str(reason))
        if output:
            _write(graph, output)
        if not runs or not (yes or _agreed()):
            return True
        run_id = await planner.submit(input_values(values, graph), None)
        return await follow_run(mesh, planner, run_id, graph, as_json=as_json)

    if not command_runner.run(target, work):
        raise typer.Exit(1)


def _as_file(made: dict[str, Any]) -> GraphFile:
    from weft.cli.graphs.graph_file import GraphFile

    return GraphFile("the plan", made.get("graph", {}), {})


def _agreed() -> bool:
    prompt("Run it? [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _write(graph: GraphFile, output: str) -> None:
    from weft.cli.graphs.graph_file import as_yaml

    try:
        Path(output).write_text(as_yaml(graph.value), encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Failure(f"cannot write {output}: {system_reason(error)}") from None
    remark(f"written to {output}: weft run {output}")
