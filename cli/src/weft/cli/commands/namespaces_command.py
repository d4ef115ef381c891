"""`weft namespaces ...`: meshes of their own behind one coordinator's port."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal.output import json_text, line, remark
from weft.cli.terminal.tables import Column, print_rows

if TYPE_CHECKING:
    from datetime import datetime

    from weft.client import Mesh, MeshNamespaces, NamespaceInfo

_HELP = with_examples(
    "Create, list and delete namespaces: each has its own tasks, agents, queues, schedules and figures, which others cannot see.",
    "weft namespaces create team-a --comment 'research'",
    "weft namespaces list",
    "weft namespaces delete team-a",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)

_COLUMNS = (Column("name"), Column("created"), Column("is"), Column("comment", below=True, spare=1))
Name = Annotated[str, typer.Argument(metavar="NAME", help="The namespace's name.")]


@app.command()
@examples("weft namespaces create team-a", "weft namespaces create team-a --comment 'research' --json")
def create(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="1 to 63 small letters, digits and '-', a letter or digit at both ends.",
        ),
    ],
    comment: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Make a namespace."""
    made = _ask(target, lambda namespaces: namespaces.create(name, comment=comment))
    _tell(made, f"namespace {made.name} is there: use it by --namespace or WEFT_NAMESPACE", as_json=as_json)


@app.command("list")
@examples("weft namespaces list", "weft namespaces list --json")
def list_namespaces(target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """List the namespaces that the caller may use."""
    found = _ask(target, lambda namespaces: namespaces.list())
    if as_json:
        line(json_text([_document(each) for each in found]))
    else:
        print_rows(_COLUMNS, [_row(each) for each in found], "no namespaces")


@app.command()
@examples("weft namespaces delete team-a", "weft namespaces delete team-a --force")
def delete(
    name: Name,
    force: Annotated[
        bool, typer.Option("--force", help="Also if agents are connected or tasks have not ended.")
    ] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Delete a namespace with everything in it. Its data is removed some seconds later."""
    deleted = _ask(target, lambda namespaces: namespaces.delete(name, force=force))
    _tell(deleted, f"namespace {name} is being deleted", as_json=as_json)


def _ask(target: str, question: Callable[[MeshNamespaces], Any]) -> Any:
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> Any:
        return await question(mesh.namespaces)

    return run(target, work)


def _tell(namespace: NamespaceInfo, done: str, *, as_json: bool) -> None:
    if as_json:
        line(json_text(_document(namespace)))
    else:
        remark(done)


def _document(namespace: NamespaceInfo) -> dict[str, Any]:
    return {
        "name": namespace.name,
        "comment": namespace.comment,
        "state": _state(namespace),
        "create_time": _time(namespace.created_at) or None,
        "delete_time": _time(namespace.deleted_at) or None,
    }


def _row(namespace: NamespaceInfo) -> list[str]:
    return [namespace.name, _time(namespace.created_at), _state(namespace), namespace.comment]


def _state(namespace: NamespaceInfo) -> str:
    return "in use" if namespace.deleted_at is None else "being deleted"


def _time(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"
