"""`weft provision`: makes a join token for an agent, and prints the command or manifest that starts the agent with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target, pairs
from weft.cli.terminal.failure import Failure, system_reason
from weft.cli.terminal.output import block, json_text, line, remark

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.v1 import provision_pb2

_TIMEOUT_S = 30.0
_DAY_S = 86400.0


def _patterns(option: str, text: str) -> Any:
    return typer.Option(option, metavar="PATTERN", help=f"{text}; '*' stands for any characters. Repeatable.")


@examples(
    "weft provision process --name worker-1 --set program=acme.worker:agent",
    "weft provision docker --name worker-1 --set image=acme/worker:1.2 --set tls_ca=/etc/weft/ca.pem --out worker-1.sh",
    "weft provision kubernetes --name worker --set image=acme/worker:1.2 --set tls_ca=weft-ca --set replicas=3",
    "weft provision --list",
)
def provision(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="How the agent runs: docker, compose, ...")
    ] = None,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="The agent's name: lower-case letters, digits and '-'.")
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the kind (see --list); repeatable."),
    ] = None,
    hosts: Annotated[list[str] | None, _patterns("--hosts", "It may host these methods only")] = None,
    methods: Annotated[list[str] | None, _patterns("--methods", "It may call these methods only")] = None,
    labels: Annotated[
        list[str] | None,
        _patterns("--labels", "Beside those that are set, it may have these labels only, as key=value"),
    ] = None,
    mesh_namespace: Annotated[
        str,
        typer.Option(metavar="NAME", help="The namespace of the mesh that it belongs to. [default: default]"),
    ] = "",
    days: Annotated[
        float, typer.Option(metavar="N", min=0.00002, help="Its token is valid for so many days.")
    ] = 90.0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write the text to this new file, for this user alone, instead of printing it.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make no token: the text has TOKEN in its place.")
    ] = False,
    list_kinds: Annotated[bool, typer.Option("--list", help="List the kinds and their settings.")] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Make a join token for a new agent, and print the command or manifest that starts the agent with it.

    The token lets agents of this name alone join, and is printed once, as a part of the text. Nothing is started. What to do with the
    text is printed beside it.
    """
    if list_kinds:
        _list(target, as_json=as_json)
        return
    if not kind or not name:
        raise typer.BadParameter("give a KIND and a --name, or --list")
    if out is not None and out.exists():
        raise typer.BadParameter(f"{out} exists: choose another file, or remove it", param_hint="--out")
    from weft.rpc.times import duration
    from weft.v1 import provision_pb2

    given = pairs(settings, "--set") if settings else {}
    # As this command reaches the coordinator, unless the agent reaches it in another way.
    given.setdefault("target", target)
    request = provision_pb2.ProvisionAgentRequest(
        kind=kind,
        name=name,
        settings=given,
        scope=provision_pb2.ProvisionScope(hosts=hosts, methods=methods, labels=labels),
        ttl=duration(days * _DAY_S),
        dry_run=dry_run,
        namespace=mesh_namespace,
    )
    made = _ask(target, lambda stub: stub.ProvisionAgent(request, timeout=_TIMEOUT_S))
    if out is not None:
        _write(out, made)
    if as_json:
        line(json_text(_document(made, out)))
    else:
        _tell(made, out)


def _list(target: str, *, as_json: bool) -> None:
    from weft.cli.provision import kind_view
    from weft.v1 import provision_pb2

    request = provision_pb2.ListProvisionKindsRequest()
    found = _ask(target, lambda stub: stub.ListProvisionKinds(request, timeout=_TIMEOUT_S)).kinds
    if as_json:
        line(json_text([kind_view.document(each) for each in found]))
    else:
        kind_view.print_kinds(found)


def _ask(target: str, question: Any) -> Any:
    from weft.cli.process.command_runner import run
    from weft.v1.provision_pb2_grpc import ProvisionServiceStub

    async def work(mesh: Mesh) -> Any:
        return await question(ProvisionServiceStub(mesh.channel()))

    return run(target, work)


def _write(out: Path, made: provision_pb2.ProvisionAgentResponse) -> None:
    try:
        with open(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(made.text)
    except OSError as error:
        lost = f"token {made.token.id} was made for it: revoke it (weft tokens revoke {made.token.id})"
        raise Failure(
            f"cannot write {out}: {system_reason(error)}", *([lost] if made.HasField("token") else [])
        ) from None


def _document(made: provision_pb2.ProvisionAgentResponse, out: Path | None) -> dict[str, Any]:
    from weft.cli.tokens import token_view

    return {
        "agent_ids": list(made.agent_ids),
        "token": token_view.document(made.token) if made.HasField("token") else None,
        **({"text": made.text} if out is None else {"file": str(out)}),
        "file_name": made.file_name,
        "steps": list(made.steps),
        "warnings": list(made.warnings),
    }


def _tell(made: provision_pb2.ProvisionAgentResponse, out: Path | None) -> None:
    """Print the text, and beside it, on stderr, what to do with it."""
    from weft.cli.tokens import token_view

    if out is None:
        block(made.text.removesuffix("\n"))
    else:
        line(str(out))
    if made.HasField("token"):
        remark(f"token {made.token.id} ({token_view.summary(made.token)})")
    for warning in made.warnings:
        remark(f"warning: {warning}")
    for number, step in enumerate(made.steps, start=1):
        remark(f"{number}. {step}")
