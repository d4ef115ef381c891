"""`weft usage`: what tasks have used; `weft budgets ...`: bounds on it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal.output import block, json_text, line
from weft.cli.terminal.tables import Column, print_rows

if TYPE_CHECKING:
    from weft.client import Budget, Mesh, Usage, UsageReport

_BY = ("method", "agent", "root_task", "time")
_SINCE = re.compile(r"(\d{1,6})([hd])")
_HELP = with_examples(
    "Bounds on what tasks may use: when one is spent, new tasks are refused or wait.",
    "weft budgets set tokens-a-day 2000000 tokens --period day",
    "weft budgets set index 3600 slot_s --method Index/Build --period month --action pause",
    "weft budgets list",
)
budgets = typer.Typer(name="budgets", help=_HELP, no_args_is_help=True, **SETTINGS)
_BUDGETS = (
    Column("budget"),
    Column("of", cut=True),
    Column("spent", right=True),
    Column("amount", right=True),
    Column("unit"),
    Column("period", spare=1),
    Column("then"),
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The budget's name.")]


@examples("weft usage", "weft usage --by agent --since 7d", "weft usage --by time --since 48h --csv")
def usage(
    by: Annotated[
        str, typer.Option("--by", metavar="WHAT", help=f"One of {', '.join(_BY)}.", show_default=True)
    ] = "method",
    since: Annotated[
        str, typer.Option("--since", metavar="Nh|Nd", help="How far back: hours or days.", show_default=True)
    ] = "24h",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Show what tasks and direct calls have used: attempts, the time that they ran, slot time, bytes, and units that handlers name, such as tokens.

    Over all coordinators. Hours are kept for 8 days, days for 400.
    """
    from weft.cli.process.command_runner import run

    if by not in _BY:
        raise typer.BadParameter(f"it is one of {', '.join(_BY)}", param_hint="--by")
    start = datetime.now(UTC) - _age(since)

    async def work(mesh: Mesh) -> UsageReport:
        return await mesh.usage(by, start=start)  # type: ignore[arg-type]

    found = run(target, work)
    if as_json:
        entries = [{"name": name, **asdict(each)} for name, each in found.entries]
        line(
            json_text(
                {"by": by, "start": found.start.isoformat(), "entries": entries, "total": asdict(found.total)}
            )
        )
    elif as_csv:
        block(_csv(by, found).rstrip("\n"))
    else:
        _print(by, found)


def _age(text: str) -> timedelta:
    match = _SINCE.fullmatch(text)
    if match is None:
        raise typer.BadParameter("it is a number with h or d behind it: 24h, 7d", param_hint="--since")
    count = int(match[1])
    if count > 24 * 400:
        raise typer.BadParameter("days are kept for 400 days", param_hint="--since")
    return timedelta(hours=count) if match[2] == "h" else timedelta(days=count)


def _units(found: UsageReport) -> list[str]:
    return sorted({unit for _, each in found.entries for unit in each.units})


def _cells(each: Usage, units: Sequence[str]) -> list[Any]:
    measured = [each.attempts, each.active_s, each.slot_s, each.request_bytes, each.response_bytes]
    measured.append(each.direct_calls)
    return [*measured, *(each.units.get(unit, 0.0) for unit in units)]


def _csv(by: str, found: UsageReport) -> str:
    units = _units(found)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [by, "attempts", "active_s", "slot_s", "request_bytes", "response_bytes", "direct_calls", *units]
    )
    for name, each in found.entries:
        # A name that begins so is a formula to some programs that read such files.
        shown = f"'{name}" if name[:1] in {"=", "+", "-", "@"} else name
        writer.writerow([shown, *_cells(each, units)])
    return out.getvalue()


def _print(by: str, found: UsageReport) -> None:
    units = _units(found)
    columns = (
        Column(by.replace("_", " "), cut=True),
        Column("attempts", right=True),
        Column("direct", right=True),
        Column("active s", right=True, spare=2),
        Column("slot s", right=True),
        Column("MB in", right=True, spare=1),
        Column("MB out", right=True, spare=1),
        *(Column(unit, right=True) for unit in units),
    )

    def row(name: str, each: Usage) -> list[str]:
        attempts, active_s, slot_s, size_in, size_out, direct, *amounts = _cells(each, units)
        times = [f"{active_s:.1f}", f"{slot_s:.1f}"]
        sizes = [f"{size_in / 1e6:.2f}", f"{size_out / 1e6:.2f}"]
        return [
            name or "(others)",
            str(attempts),
            str(direct),
            *times,
            *sizes,
            *(f"{each:g}" for each in amounts),
        ]

    rows = [row(name, each) for name, each in found.entries]
    if len(rows) > 1:
        rows.append(row("total", found.total))
    print_rows(columns, rows, f"nothing was used since {found.start:%Y-%m-%d %H:%M} UTC")


@budgets.command("set")
@examples(
    "weft budgets set tokens-a-day 2000000 tokens --period day",
    "weft budgets set one-tree 500 attempts --root 1985e78c4b252104",
)
def set_budget(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="1 to 128 letters, digits, '.', '_', '-' and '/'.")
    ],
    amount: Annotated[float, typer.Argument(metavar="AMOUNT", help="How much may be used.")],
    unit: Annotated[
        str,
        typer.Argument(
            metavar="UNIT",
            help="attempts, active_s, slot_s, request_bytes, response_bytes, direct_calls, or a unit that handlers name.",
        ),
    ],
    method: Annotated[
        str, typer.Option(metavar="METHOD", help="Bound this method's tasks. [default: all of the namespace]")
    ] = "",
    root: Annotated[
        str, typer.Option("--root", metavar="TASK", help="Bound this task and all tasks below it.")
    ] = "",
    period: Annotated[
        str, typer.Option(metavar="PERIOD", help="When it begins anew: total (never), day or month, UTC.")
    ] = "total",
    action: Annotated[
        str, typer.Option(metavar="ACTION", help="When it is spent: refuse new tasks, or pause methods.")
    ] = "refuse",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Set a budget, or change the one of this name. What was used before it was set does not count, except in its first day or month."""
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> Budget:
        return await mesh.budgets.set(
            name,
            amount,
            unit,
            method=method,
            root_task_id=root,
            period=period,  # type: ignore[arg-type]
            action=action,  # type: ignore[arg-type]
        )

    _print_budgets([run(target, work)], as_json=as_json)


@budgets.command("list")
@examples("weft budgets list", "weft budgets list --task 1985e78c4b252104", "weft budgets list --json")
def list_budgets(
    task: Annotated[
        str,
        typer.Option(
            "--task", metavar="TASK", help="Those by which this task and the tasks above it were submitted."
        ),
    ] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """List the budgets, with what was spent of each."""
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> Sequence[Budget]:
        return await mesh.budgets.list(task_id=task)

    _print_budgets(run(target, work), as_json=as_json)


@budgets.command()
@examples("weft budgets delete tokens-a-day")
def delete(name: Name, target: Target = DEFAULT_TARGET) -> None:
    """Delete a budget. Methods that it has paused are resumed."""
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> None:
        await mesh.budgets.delete(name)

    run(target, work)
    line(f"budget {name} is deleted")


def _print_budgets(found: Sequence[Budget], *, as_json: bool) -> None:
    if as_json:
        for each in found:
            renews = None if each.renews is None else each.renews.isoformat()
            line(json_text(asdict(each) | {"renews": renews}))
        return
    rows = [
        (
            each.name,
            each.method or each.root_task_id or "all tasks",
            f"{each.spent:g}",
            f"{each.amount:g}",
            each.unit,
            each.period,
            _state(each),
        )
        for each in found
    ]
    print_rows(_BUDGETS, rows, "there are no budgets")


def _state(budget: Budget) -> str:
    if budget.spent < budget.amount:
        return budget.action
    done = f"{len(budget.paused_methods)} paused" if budget.action == "pause" else "refused"
    return done if budget.renews is None else f"{done} until {budget.renews:%Y-%m-%d %H:%M} UTC"
