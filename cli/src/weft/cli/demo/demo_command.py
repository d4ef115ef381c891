"""`weft demo`: the command."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import Json
from weft.cli.demo.corpus import import_paths, standard_library
from weft.cli.demo.demo_display import DemoDisplay
from weft.cli.demo.ledger import Ledger
from weft.cli.process.children import Children, run
from weft.cli.terminal import output

if TYPE_CHECKING:
    from weft.cli.demo.demo_report import DemoReport

# Fewer files would be finished before the two crashes.
_FEWEST_FILES = 30


@examples(
    "weft demo",
    "weft demo --limit 200 --keep",
)
def demo(
    agents: Annotated[int, typer.Option(min=2, max=26, help="Number of agents.")] = 3,
    limit: Annotated[
        int | None, typer.Option(min=_FEWEST_FILES, help="Analyse only so many files, evenly spread.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the store and the logs, and print their folder.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Watch real work survive two crashes.

    Agents analyse every Python file of this interpreter's standard library. One agent is killed with SIGKILL after a third of
    the results, the coordinator after two thirds. Then all results are compared with a direct computation. The exit status is 1
    if a result differs.
    """
    folder = Path(tempfile.mkdtemp(prefix="weft-demo-"))
    try:
        with Children(folder, path=import_paths()) as children:
            report = run(_play(children, list(ascii_lowercase[:agents]), limit, as_json=as_json))
    finally:
        if keep:
            output.remark(f"the store and the logs are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if not as_json:
        report.print_tables()
        report.print_verdict()
    else:
        if report.faults:
            report.print_verdict()
        output.line(output.json_text(report.figures()))
    if report.faults:
        raise typer.Exit(1)


async def _play(children: Children, agent_ids: list[str], limit: int | None, *, as_json: bool) -> DemoReport:
    # Imported late: they import the example, which `import_paths` has made importable.
    from weft.cli.demo.demo_report import DemoReport
    from weft.cli.demo.demo_run import DemoRun
    from weft.cli.demo.expected_results import compute

    files = await asyncio.to_thread(standard_library, limit)
    with DemoDisplay(quiet_stdout=as_json) as display:
        record = await DemoRun(children, files, agent_ids, display).play()
        expected = await compute(children, files, display)
    return DemoReport(files, record, Ledger.read(children.folder / "ledger"), expected)
