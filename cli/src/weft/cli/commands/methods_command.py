"""`weft methods ...`: list methods with their task policies; change policies at run time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line import inputs
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal.output import Styled, StyledText, json_text, line, show
from weft.cli.terminal.tables import Column, Verbatim, print_pairs, print_rows
from weft.rpc import bounded_json

if TYPE_CHECKING:
    from weft.client import Mesh, MethodView
    from weft.client.method_overrides import Methods
    from weft.v1 import options_pb2

_HELP = with_examples(
    "List methods and their task policies; override policies at run time.",
    "weft methods",
    "weft methods show Greeter/Greet",
    "weft methods set Greeter/Greet limits.start_to_close=5s retry.max_attempts=3",
)
app = typer.Typer(help=_HELP, invoke_without_command=True, **SETTINGS)

_COLUMNS = (
    Column("method"),
    Column("kind", spare=2),
    Column("agents", right=True),
    Column("policy", below=True),
    Column(""),
)
_Setting = Annotated[
    list[str],
    typer.Argument(
        metavar="OPTION=VALUE...",
        help="Options of weft.v1.TaskPolicy by their path, with values as in JSON: `priority=7`, `limits.start_to_close=5s`,"
        ' `run_limits=[{"key": "tenant_id", "max_running": 2}]`. An empty value removes the option from the override.',
        show_default=False,
    ),
]


@app.callback(help=_HELP)
def methods(context: typer.Context, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """List methods and their task policies; override policies at run time."""
    if context.invoked_subcommand is None:
        list_methods(target=target, as_json=as_json)


@app.command("list")
@examples(
    "weft methods list",
    "weft methods list --overridden --json",
)
def list_methods(
    service: Annotated[
        str, typer.Option("--service", metavar="SERVICE", help="Only methods of this service, by full name.")
    ] = "",
    overridden: Annotated[bool, typer.Option("--overridden", help="Only methods with an override.")] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """List methods with their policies."""
    from weft.cli.process.command_runner import run
    from weft.cli.rendering.documents import method_document

    async def work(mesh: Mesh) -> list[MethodView]:
        return list(await mesh.methods.list(service, overridden=overridden))

    found = run(target, work)
    if as_json:
        line(json_text([method_document(method) for method in found]))
        return
    print_rows(_COLUMNS, [_row(method) for method in found], "no methods")


@app.command("show")
@examples(
    "weft methods show Greeter/Greet",
)
def show_method(method: inputs.MethodName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Show a method and the parts of its policy."""
    _ask(method, lambda every, name: every.get(name), target, as_json=as_json)


@app.command("set")
@examples(
    "weft methods set Greeter/Greet limits.start_to_close=5s retry.max_attempts=3",
    'weft methods set Greeter/Greet \'run_limits=[{"key": "tenant_id", "max_running": 2}]\'',
    "weft methods set Greeter/Greet priority=",
)
def set_options(
    method: inputs.MethodName, settings: _Setting, target: Target = DEFAULT_TARGET, as_json: Json = False
) -> None:
    """Override options of a method. New calls use them at once; run limits hold for stored tasks too."""
    policy, fields = _parsed(settings)

    _ask(method, lambda every, name: every.update(name, policy, fields), target, as_json=as_json)


@app.command()
@examples(
    "weft methods reset Greeter/Greet",
)
def reset(method: inputs.MethodName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Remove the override of a method."""
    _ask(method, lambda every, name: every.clear(name), target, as_json=as_json)


def _ask(
    method: str, ask: Callable[[Methods, str], Awaitable[MethodView]], target: str, *, as_json: bool
) -> None:
    """Read or change one method, and print it."""
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> tuple[MethodView, set[str]]:
        known = {each.name for each in await mesh.methods.list()}
        return await ask(mesh.methods, inputs.one_of(method, known)), known

    _print(*run(target, work), as_json=as_json)


def _parsed(settings: list[str]) -> tuple[options_pb2.TaskPolicy, list[str]]:
    """The policy of OPTION=VALUE arguments, and the paths that they name.

    Raises:
        typer.BadParameter: an argument names no option, or one that another argument names too; or its value is not one of
            that option.
    """
    from google.protobuf.json_format import ParseDict, ParseError

    from weft.v1 import options_pb2

    policy = options_pb2.TaskPolicy()
    known = options_pb2.TaskPolicy.DESCRIPTOR.fields_by_name
    fields: list[str] = []
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise typer.BadParameter(f"{setting!r} is not OPTION=VALUE", param_hint="OPTION=VALUE")
        if path in fields:
            raise typer.BadParameter(f"{path} is given twice", param_hint="OPTION=VALUE")
        if path.partition(".")[0] not in known:
            raise typer.BadParameter(
                f"{path!r} is no option of a task policy; there are {', '.join(known)}",
                param_hint="OPTION=VALUE",
            )
        fields.append(path)
        if not text:
            continue
        document: Any = _value(text)
        for name in reversed(path.split(".")):
            document = {name: document}
        try:
            ParseDict(document, policy)
        except ParseError as error:
            raise typer.BadParameter(f"{setting!r}: {error}", param_hint="OPTION=VALUE") from None
    return policy, fields


def _value(text: str) -> Any:
    """A value as JSON; text that is no JSON is a string, so that `5s` needs no quotes."""
    try:
        return bounded_json.loads(text)
    except ValueError:
        return text


def _print(method: MethodView, known: set[str], *, as_json: bool) -> None:
    """Print a method; `known`: the names of all methods."""
    from weft.cli.rendering.documents import method_document, policy_document

    if as_json:
        show(method_document(method), "", as_json=True)
        return
    pairs: list[tuple[str, StyledText | Verbatim]] = [
        ("method", method.name),
        ("kind", method.kind),
        ("request", method.request_type),
        ("response", method.response_type),
        ("agents", str(method.agents)),
    ]
    for name, policy in (
        ("policy", method.policy),
        ("contract", method.contract_policy),
        ("override", method.override),
    ):
        document = policy_document(policy)
        pairs.append((name, Verbatim(json_text(document, indent=2)) if document else "nothing is set"))
    if method.override_problem:
        pairs.append(("problem", Styled(f"the override is ignored: {method.override_problem}", "yellow")))
    if (fallback := method.policy.fallback) and fallback not in known:
        pairs.append(
            (
                "fallback",
                Styled(f"no agent has hosted {fallback}: no task falls back until one does", "yellow"),
            )
        )
    print_pairs(pairs)


def _row(method: MethodView) -> list[StyledText]:
    from weft.cli.rendering.documents import policy_document

    document = policy_document(method.policy)
    state = ""
    if method.override_problem:
        state = "override ignored"
    elif method.override.ByteSize():
        state = "overridden"
    return [
        method.name,
        method.kind.lower(),
        str(method.agents),
        json_text(document) if document else "",
        Styled(state, "yellow") if state else "",
    ]
