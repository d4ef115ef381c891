"""`weft namespaces ...`: meshes of their own behind one coordinator's port."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal.output import json_text, line, remark
from weft.cli.terminal.tables import Column, print_rows

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.v1 import namespace_pb2

_HELP = with_examples(
    "Create, list and delete namespaces: each has its own tasks, agents, queues, schedules and figures, which others cannot see.",
    "weft namespaces create team-a --comment 'research'",
    "weft namespaces list",
    "weft namespaces delete team-a",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)

_TIMEOUT_S = 30.0
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
    from weft.v1 import namespace_pb2

    request = namespace_pb2.CreateNamespaceRequest(name=name, comment=comment)
    made = _ask(target, lambda stub: stub.CreateNamespace(request, timeout=_TIMEOUT_S)).namespace
    _tell(made, f"namespace {made.name} is there: use it by --namespace or WEFT_NAMESPACE", as_json=as_json)


@app.command("list")
@examples("weft namespaces list", "weft namespaces list --json")
def list_namespaces(target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """List the namespaces that the caller may use."""
    from weft.v1 import namespace_pb2

    request = namespace_pb2.ListNamespacesRequest()
    found = _ask(target, lambda stub: stub.ListNamespaces(request, timeout=_TIMEOUT_S)).namespaces
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
    from weft.v1 import namespace_pb2

    request = namespace_pb2.DeleteNamespaceRequest(name=name, force=force)
    deleted = _ask(target, lambda stub: stub.DeleteNamespace(request, timeout=_TIMEOUT_S)).namespace
    _tell(deleted, f"namespace {name} is being deleted", as_json=as_json)


def _ask(target: str, question: Any) -> Any:
    from weft.cli.process.command_runner import run
    from weft.v1.namespace_pb2_grpc import NamespaceServiceStub

    async def work(mesh: Mesh) -> Any:
        return await question(NamespaceServiceStub(mesh.channel()))

    return run(target, work)


def _tell(namespace: namespace_pb2.Namespace, done: str, *, as_json: bool) -> None:
    if as_json:
        line(json_text(_document(namespace)))
    else:
        remark(done)


def _document(namespace: namespace_pb2.Namespace) -> dict[str, Any]:
    return {
        "name": namespace.name,
        "comment": namespace.comment,
        "state": _state(namespace),
        "create_time": _time(namespace, "create_time") or None,
        "delete_time": _time(namespace, "delete_time") or None,
    }


def _row(namespace: namespace_pb2.Namespace) -> list[str]:
    return [namespace.name, _time(namespace, "create_time"), _state(namespace), namespace.comment]


def _state(namespace: namespace_pb2.Namespace) -> str:
    return "being deleted" if namespace.HasField("delete_time") else "in use"


def _time(namespace: namespace_pb2.Namespace, name: str) -> str:
    if not namespace.HasField(name):
        return ""
    return f"{getattr(namespace, name).ToDatetime(UTC):%Y-%m-%dT%H:%M:%SZ}"
