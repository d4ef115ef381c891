"""`weft groups ...`: tasks that belong together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line import completion
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.steering.id_changes import change_names
from weft.cli.terminal.output import json_text, line, remark
from weft.cli.terminal.tables import print_pairs, print_rows

if TYPE_CHECKING:
    from weft.client import Group, Mesh

_HELP = with_examples(
    "List, show, wait for, close, cancel and delete groups: tasks that belong together.",
    "weft groups list",
    "weft groups wait nightly --close",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The group's name.", autocompletion=completion.groups)
]
Names = Annotated[
    list[str],
    typer.Argument(metavar="NAME", help="Names of groups.", autocompletion=completion.groups),
]
# How often a wait says how far the group is.
_PROGRESS_S = 5.0


@app.command("list")
@examples("weft groups list", "weft groups list --json")
def list_groups(target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """List all groups, with their tasks by state. `weft tasks list --group` lists the tasks of one."""
    from weft.cli.process.command_runner import run
    from weft.cli.rendering import group_view

    async def work(mesh: Mesh) -> list[Group]:
        return [group async for group in mesh.groups.list()]

    found = run(target, work)
    if as_json:
        line(json_text([group_view.group_document(group) for group in found]))
    else:
        print_rows(group_view.COLUMNS, [group_view.row(group) for group in found], "no groups")


@app.command()
@examples("weft groups show nightly", "weft groups show nightly --json")
def show(name: Name, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Show a group: its tasks by state, and its callback.

    Also when it was made and closed, and when it ended.
    """
    from weft.cli.process.command_runner import run

    _print(run(target, lambda mesh: mesh.groups.get(name)), as_json=as_json)


@app.command()
@examples("weft groups wait nightly --close", "weft groups wait nightly --timeout-s 600")
def wait(
    name: Name,
    close_first: Annotated[bool, typer.Option("--close", help="Close the group first.")] = False,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout-s", metavar="S", min=0, help="Give up after so long.")
    ] = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Wait until a group is closed and has no unfinished task.

    Exit status 1 if some of its tasks failed or were cancelled, or if the time is up.
    """
    from weft.cli.process.command_runner import run
    from weft.client import TaskState

    group = run(target, lambda mesh: _waited(mesh, name, timeout_s, close_first=close_first))
    _print(group, as_json=as_json)
    if group.counts.keys() - {TaskState.SUCCEEDED}:
        raise typer.Exit(1)


async def _waited(mesh: Mesh, name: str, timeout_s: float | None, *, close_first: bool) -> Group:
    """Wait, and say on standard error how far the group is."""
    from weft.cli.rendering.group_view import by_state
    from weft.client import DeadlineExceeded

    if close_first:
        await mesh.groups.close(name)
    ends_at = None if timeout_s is None else time.monotonic() + timeout_s
    told = ""
    while True:
        left_s = None if ends_at is None else max(0.0, ends_at - time.monotonic())
        last = left_s is not None and left_s <= _PROGRESS_S
        try:
            return await mesh.groups.wait(name, left_s if last else _PROGRESS_S)
        except DeadlineExceeded:
            if last:
                raise
        group = await mesh.groups.get(name)
        words = f"{by_state(group) or 'no tasks'}{', open' if group.closed_at is None else ''}"
        if words != told:
            told = words
            remark(f"{name}: {words}")


@app.command()
@examples("weft groups close nightly")
def close(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Close groups: they take no more tasks, and end with the last one."""
    change_names(names, lambda mesh, name: mesh.groups.close(name), _shown, target, as_json=as_json)


@app.command()
@examples("weft groups cancel nightly --reason 'wrong input'")
def cancel(
    names: Names,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever looks at the tasks.")] = "",
    grace_s: Annotated[
        float | None,
        typer.Option("--grace-s", metavar="S", min=0, help="How long running handlers may take to end."),
    ] = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Close groups, and cancel their unfinished tasks. Their callbacks run when these have ended."""
    change_names(
        names,
        lambda mesh, name: mesh.groups.cancel(name, reason, grace_s=grace_s),
        _shown,
        target,
        as_json=as_json,
    )


@app.command()
@examples("weft groups delete nightly")
def delete(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Forget groups that have no unfinished task. Their tasks stay."""

    async def deleted(mesh: Mesh, name: str) -> str:
        await mesh.groups.delete(name)
        return name

    change_names(
        names,
        deleted,
        lambda name: ({"name": name, "deleted": True}, f"{name} deleted"),
        target,
        as_json=as_json,
    )


def _shown(group: Group) -> tuple[dict[str, Any], str]:
    from weft.cli.rendering.group_view import by_state, group_document

    words = "ended" if group.ended else f"closed, {group.unfinished} unfinished"
    counts = by_state(group)
    return group_document(group), f"{group.name} {words}{f' ({counts})' if counts else ''}"


def _print(group: Group, *, as_json: bool) -> None:
    from weft.cli.rendering import group_view

    if as_json:
        line(json_text(group_view.group_document(group)))
    else:
        print_pairs(group_view.facts(group))
