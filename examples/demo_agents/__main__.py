"""`make demo-agents`: the command."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from examples.demo_agents import local_git
from examples.demo_agents.demo_mesh import DemoMesh, passed_on
from examples.demo_agents.local_git import LocalGit
from examples.demo_agents.measure_files import measure
from examples.demo_agents.outcome import Outcome
from examples.demo_agents.picture import picture
from examples.demo_agents.run_watch import RunWatch
from weft.cli.demo.corpus import SourceFile, standard_library
from weft.cli.demo.demo_display import DemoDisplay
from weft.cli.graphs.graph_file import read_graph
from weft.cli.graphs.planner_calls import Planner
from weft.cli.process.children import Children, run
from weft.cli.terminal import output
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.failures import explain
from weft.rpc.errors import WeftError

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
_FEWEST_FILES = 100


def demo_agents(
    limit: Annotated[
        int | None, typer.Option(min=_FEWEST_FILES, help="Study only so many files, evenly spread.")
    ] = None,
    image: Annotated[Path, typer.Option("--picture", help="The file of the picture of the run.")] = _ROOT
    / "build"
    / "demo-agents.svg",
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the store and the logs, and print their folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of figures.")] = False,
) -> None:
    """Watch the ready services study Python's standard library together, while an agent is killed.

    The hardware service looks at the machine, the arbiter reserves its cores, the repositories service clones the files, sandboxes measure them part by part, a
    model (or rules) writes a summary, and the report is pushed. The planner runs all of it as one graph. Then the figures are compared with a direct
    computation. What is not on this machine is said, and done without. The exit status is 1 if something is wrong.
    """
    folder = Path(tempfile.mkdtemp(prefix="weft-demo-agents-"))
    try:
        with Children(folder, path=[_ROOT], passed_on=passed_on()) as children:
            found = run(_play(children, limit, quiet=as_json))
    except (Failure, WeftError, OSError) as error:
        told = explain(error)
        for line in told.lines if told is not None else (str(error),):
            output.remark(line)
        raise typer.Exit(1) from None
    finally:
        if keep:
            output.remark(f"the store and the logs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    image.parent.mkdir(parents=True, exist_ok=True)
    image.write_text(picture(found.record, "A study of Python's standard library by weft's services"))
    _print(found, image, as_json=as_json)
    if found.faults:
        raise typer.Exit(1)


async def _play(children: Children, limit: int | None, *, quiet: bool) -> Outcome:
    files = [
        file
        for file in await asyncio.to_thread(standard_library, limit)
        if not {"test", "tests"} & set(file.name.split("/"))
    ]
    with DemoDisplay(quiet_stdout=quiet) as display:
        display.say("starting a coordinator and five agents")
        git_missing = local_git.missing()
        async with LocalGit(children.folder) as git:
            if not git_missing:
                await git.create((file.name, file.path.read_bytes()) for file in files)
            async with DemoMesh(children, None if git_missing else git) as demo:
                display.say(f"a coordinator and five agents are connected: {', '.join(demo.agents)}")
                machine = await demo.look(git_missing)
                for line in machine.missing:
                    display.say(line)
                inputs: dict[str, Any] = {**machine.inputs, "url": git.url, "folder": _folder_of(files[0])}
                inputs["paths"] = [file.name for file in files]
                planner = Planner(demo.mesh, read_graph(str(_HERE / "study.yaml")))
                record = await RunWatch(demo, planner, display).play(inputs)
            pushed = None if git_missing else await git.file("study", "STUDY.md")
        display.say(f"comparing with a direct computation of all {len(files):,} files")
        expected = await asyncio.to_thread(_measured, files)
    return Outcome(record, expected, pushed, machine.inputs)


def _folder_of(file: SourceFile) -> str:
    """The folder of the library: names are paths below it."""
    return str(file.path).removesuffix(file.name)


def _measured(files: Sequence[SourceFile]) -> dict[str, Any]:
    return measure((file.name, file.path.read_bytes()) for file in files)


def _print(found: Outcome, image: Path, *, as_json: bool) -> None:
    for fault in found.faults:
        output.remark(f"WRONG: {fault}")
    if as_json:
        output.line(output.json_text(found.figures | {"picture": str(image)}))
        return
    if found.output:
        output.line("")
        for service, did in found.lines():
            output.line(f"  {service:<13} {did}")
        output.line("")
        output.line(f"  {found.output['summary']}")
        output.line("")
    if not found.faults:
        output.line(
            f"Right: all figures equal those of a direct computation of {found.figures['files']:,} files."
        )
    output.line(f"A picture of the run: {image}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(demo_agents)
    app()
