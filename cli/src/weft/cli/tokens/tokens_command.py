"""`weft tokens ...`: makes, lists, rotates and revokes tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.certs.joining_commands import join_variables
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal.output import json_text, line, remark
from weft.cli.terminal.tables import print_pairs, print_rows

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.v1 import security_pb2

_HELP = with_examples(
    "Create, list, show, rotate and revoke tokens: what callers show where coordinators ask for them (weft coordinator --tokens on).",
    "weft tokens create --role client --methods 'acme.*' --out shop.token",
    "weft tokens create --role agent --agent-ids 'worker-*' --uses 3",
    "weft tokens revoke 3fKq9ZpL0aBc",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)

_TIMEOUT_S = 30.0
_DAY_S = 86400.0
_NO_VARIABLES: Mapping[str, str] = {}
Id = Annotated[str, typer.Argument(metavar="ID", help="The token's id, as `weft tokens list` shows it.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Write the token to this new file, for this user alone, instead of printing it.",
    ),
]


def _patterns(option: str, text: str) -> Any:
    return typer.Option(option, metavar="PATTERN", help=f"{text}; '*' stands for any characters. Repeatable.")


@app.command()
@examples(
    "weft tokens create --role client --name shop --methods 'acme.research.*' --days 30",
    "weft tokens create --role agent --agent-ids 'worker-*' --hosts 'acme.*' --labels 'zone=eu' --uses 10",
    "weft tokens create --role agent --uses 1 --join --out worker.env",
    "weft tokens create --role observer --out observer.token",
    "weft tokens create --role client --subject 'spiffe://prod.example/shop/*'",
    "weft tokens create --role client --name batch --limit calls-per-s=100 --limit queued-tasks=10000",
)
def create(
    role: Annotated[str, typer.Option(metavar="ROLE", help="client, agent, observer or operator.")],
    methods: Annotated[list[str] | None, _patterns("--methods", "It may call these methods only")] = None,
    hosts: Annotated[list[str] | None, _patterns("--hosts", "An agent may host these methods only")] = None,
    agent_ids: Annotated[
        list[str] | None, _patterns("--agent-ids", "An agent may have these ids only")
    ] = None,
    labels: Annotated[
        list[str] | None, _patterns("--labels", "An agent may have these labels only, as key=value")
    ] = None,
    namespaces: Annotated[
        list[str] | None,
        _patterns("--namespaces", "Its calls may be in these namespaces only"),
    ] = None,
    days: Annotated[
        float, typer.Option(metavar="N", help="It is valid for so many days; 0: without an end.")
    ] = 90.0,
    uses: Annotated[
        int, typer.Option(metavar="N", min=0, help="So many agents may join with it; 0: any number.")
    ] = 0,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What policies and lists call its holder: token:NAME.")
    ] = "",
    subjects: Annotated[
        list[str] | None,
        _patterns("--subject", "Certificates with these subjects stand for it, instead of a text (mTLS)"),
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="LIMIT=N",
            help="Most of what its holder may use of a coordinator at a time: calls-per-s, open-calls, open-streams, bytes-per-s or"
            " queued-tasks; N is a number, or none. Repeatable.",
        ),
    ] = None,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    join: Annotated[
        bool,
        typer.Option(
            "--join",
            help="Give all variables by which its holder joins (weft coordinator --ca auto): WEFT_….",
        ),
    ] = False,
    out: Out = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Make a token. It is shown once: the coordinator keeps a hash of it."""
    from weft.rpc.times import duration
    from weft.v1 import security_pb2

    _check_new(out)
    request = security_pb2.CreateTokenRequest(
        role=_role(role),
        scope=security_pb2.TokenScope(
            methods=methods, hosts=hosts, agent_ids=agent_ids, labels=labels, namespaces=namespaces
        ),
        ttl=duration(days * _DAY_S) if days else None,
        never_expires=not days,
        comment=comment,
        max_uses=uses,
        name=name,
        subjects=subjects,
        limits=_limits(limits) if limits else None,
    )
    variables = join_variables(target) if join else {}
    made = _ask(target, lambda stub: stub.CreateToken(request, timeout=_TIMEOUT_S))
    _tell(made.token, made.text, out, variables, as_json=as_json)


@app.command("list")
@examples("weft tokens list", "weft tokens list --json")
def list_tokens(target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """List the tokens, by id. Ended ones are listed for 30 days."""
    from weft.cli.tokens import token_view
    from weft.v1 import security_pb2

    async def pages(stub: Any) -> list[security_pb2.Token]:
        found: list[security_pb2.Token] = []
        request = security_pb2.ListTokensRequest(page_size=500)
        while True:
            page = await stub.ListTokens(request, timeout=_TIMEOUT_S)
            found.extend(page.tokens)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    found = _ask(target, pages)
    if as_json:
        line(json_text([token_view.document(token) for token in found]))
    else:
        print_rows(token_view.COLUMNS, [token_view.row(token) for token in found], "no tokens")


@app.command()
@examples("weft tokens show 3fKq9ZpL0aBc")
def show(token_id: Id, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Show a token's role, scope, times and uses; not the token itself."""
    from weft.v1 import security_pb2

    request = security_pb2.GetTokenRequest(id=token_id)
    _print(_ask(target, lambda stub: stub.GetToken(request, timeout=_TIMEOUT_S)).token, as_json=as_json)


@app.command()
@examples("weft tokens rotate 3fKq9ZpL0aBc --overlap-s 600 --out new.token")
def rotate(
    token_id: Id,
    overlap_s: Annotated[
        float, typer.Option("--overlap-s", metavar="S", min=0, help="The old text stays valid for so long.")
    ] = 3600.0,
    out: Out = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Give a token another text. Its holders have the overlap to get it."""
    from weft.rpc.times import duration
    from weft.v1 import security_pb2

    _check_new(out)
    request = security_pb2.RotateTokenRequest(id=token_id, overlap=duration(overlap_s))
    made = _ask(target, lambda stub: stub.RotateToken(request, timeout=_TIMEOUT_S))
    _tell(made.token, made.text, out, as_json=as_json)


@app.command()
@examples("weft tokens revoke 3fKq9ZpL0aBc")
def revoke(token_id: Id, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Revoke a token for good: its holders are cut off within two seconds."""
    from weft.v1 import security_pb2

    request = security_pb2.RevokeTokenRequest(id=token_id)
    _print(_ask(target, lambda stub: stub.RevokeToken(request, timeout=_TIMEOUT_S)).token, as_json=as_json)


def _ask(target: str, question: Any) -> Any:
    from weft.cli.process.command_runner import run
    from weft.v1.security_pb2_grpc import TokenServiceStub

    async def work(mesh: Mesh) -> Any:
        return await question(TokenServiceStub(mesh.channel()))

    return run(target, work)


def _role(name: str) -> Any:
    from weft.rpc.identity.caller import ROLES

    if name not in ROLES:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(ROLES)}", param_hint="--role")
    return ROLES[name]


def _limits(given: list[str]) -> security_pb2.CallerLimits:
    from weft.rpc.identity.caller_limits import fault_of, limits_message

    found: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        name = name.strip().replace("-", "_")
        try:
            found[name] = 0.0 if value.strip() == "none" else float(value)
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} is not LIMIT=N, such as calls-per-s=100", param_hint="--limit"
            ) from None
        if fault := fault_of(name, found[name]):
            raise typer.BadParameter(fault.replace("_", "-"), param_hint="--limit")
    return limits_message(found)


def _check_new(out: Path | None) -> None:
    if out is not None and out.exists():
        raise typer.BadParameter(
            f"{out} is there already: choose another file, or remove it", param_hint="--out"
        )


def _tell(
    token: security_pb2.Token,
    text: str,
    out: Path | None,
    variables: Mapping[str, str] = _NO_VARIABLES,
    *,
    as_json: bool,
) -> None:
    """Give out a token's text, once; with variables, as one of them."""
    from weft.cli.tokens import token_view

    if not text:
        _print(token, as_json=as_json)
        return
    given = [text]
    if variables:
        given = [f"{name}={value}" for name, value in {**variables, "WEFT_TOKEN": text}.items()]
    if out is not None:
        with open(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
            file.writelines(f"{each}\n" for each in given)
    if as_json:
        secret = {"token": text} if out is None else {"file": str(out)}
        more = {"variables": dict(variables)} if variables else {}
        line(json_text(token_view.document(token) | secret | more))
        return
    remark(f"token {token.id} ({token_view.summary(token)})")
    for each in given if out is None else [str(out)]:
        line(each)


def _print(token: security_pb2.Token, *, as_json: bool) -> None:
    from weft.cli.tokens import token_view

    if as_json:
        line(json_text(token_view.document(token)))
    else:
        print_pairs(token_view.facts(token))
