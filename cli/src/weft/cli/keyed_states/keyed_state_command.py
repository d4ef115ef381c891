"""`weft state ...`: read and change the states that locks keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line import inputs
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, ShowSecrets, Target
from weft.cli.steering.id_changes import change_names
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import block, json_text, line
from weft.cli.terminal.tables import print_rows

if TYPE_CHECKING:
    from weft.client import KeyedState, Mesh
    from weft.rpc.contracts.contract_reader import ResolvedMessage

_HELP = with_examples(
    "Read and change the states that locks keep for their tasks.",
    "weft state list cart:",
    "weft state get cart:42",
    "weft state set cart:42 '{\"items\": 3}'",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The whole name of the lock that keeps it, such as cart:42.")
]
Names = Annotated[
    list[str], typer.Argument(metavar="NAME", help="Names of the locks that keep them, such as cart:42.")
]
Version = Annotated[
    int | None,
    typer.Option(
        "--expected-version",
        metavar="VERSION",
        min=0,
        help="Only if it has this version; 0: if there is none.",
    ),
]


@app.command()
@examples("weft state get cart:42", "weft state get cart:42 --json")
def get(
    name: Name,
    target: Target = DEFAULT_TARGET,
    show_secrets: ShowSecrets = False,
    as_json: Json = False,
) -> None:
    """Print the value of a state as JSON.

    With --json, in a document with its version, its type, and when it was changed by which task.
    """
    from weft.cli.keyed_states.keyed_state_view import StateView
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> tuple[KeyedState, ResolvedMessage | None]:
        state = await mesh.keyed_states.get(name)
        return state, await _message(mesh, state.type)

    state, message = run(target, work)
    view = StateView(message, show_secrets=show_secrets)
    if as_json:
        line(json_text(view.document(state)))
    else:
        block(view.text(state))


@app.command("list")
@examples("weft state list", "weft state list cart: --json")
def list_states(
    prefix: Annotated[str, typer.Argument(metavar="[PREFIX]", help="Only names that begin so.")] = "",
    limit: Annotated[
        int, typer.Option(metavar="COUNT", min=1, help="At most so many.", show_default=True)
    ] = 1000,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """List states by name, without their values."""
    from weft.cli.keyed_states.keyed_state_view import COLUMNS, StateView, row
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> list[KeyedState]:
        found: list[KeyedState] = []
        async for state in mesh.keyed_states.list(prefix):
            found.append(state)
            if len(found) == limit:
                break
        return found

    states = run(target, work)
    if as_json:
        view = StateView(None, show_secrets=False)
        for state in states:
            line(json_text(view.document(state, value=False)))
    else:
        print_rows(
            COLUMNS,
            list(map(row, states)),
            f"no state begins with {prefix}" if prefix else "there are no states",
        )


@app.command("set")
@examples(
    "weft state set cart:42 '{\"items\": 3}'",
    "weft state set cart:42 @cart.json --type acme.v1.Cart --expected-version 0",
    "weft state set model:7 @weights.bin --raw --ttl-s 3600",
)
def set_state(
    name: Name,
    value: Annotated[
        str,
        typer.Argument(
            metavar="JSON|@FILE|-", help="The value as JSON, a file with it, or - for standard input."
        ),
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--type", metavar="TYPE", help="The message type that it is. [default: none, it is JSON]"
        ),
    ] = "",
    raw: Annotated[bool, typer.Option("--raw", help="The file's bytes as they are.")] = False,
    ttl_s: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=1, help="Keep it so long. [default: until it is deleted]"),
    ] = None,
    expected_version: Version = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Write a state, and print its version.

    It is refused while a task holds the lock: pause the method first, or try again.
    """
    from weft.cli.keyed_states.keyed_state_view import JSON
    from weft.cli.process.command_runner import run

    given = _raw(value) if raw else inputs.read_text(value).encode()
    if not raw and not kind:
        try:
            json.loads(given)
        except (ValueError, RecursionError) as error:
            raise Failure(f"the value is not JSON: {error}", status=2) from None

    async def work(mesh: Mesh) -> int:
        data, stored = given, kind or ("" if raw else JSON)
        if kind:
            message = await inputs.resolve_message(mesh, kind)
            stored = message.message_class.DESCRIPTOR.full_name
            data = given if raw else message.from_json(given.decode())
        return await mesh.keyed_states.set(
            name, data, kind=stored, ttl_s=ttl_s, expected_version=expected_version
        )

    version = run(target, work)
    line(json_text({"name": name, "version": version}) if as_json else str(version))


@app.command()
@examples("weft state delete cart:42", "weft state delete cart:42 cart:43")
def delete(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Delete states: the next tasks begin without one.

    It is refused while a task holds the lock: pause the method first, or try again.
    """

    async def deleted(mesh: Mesh, name: str) -> str:
        await mesh.keyed_states.delete(name)
        return name

    change_names(
        names,
        deleted,
        lambda name: ({"name": name, "deleted": True}, f"{name} deleted"),
        target,
        as_json=as_json,
    )


async def _message(mesh: Mesh, kind: str) -> ResolvedMessage | None:
    """The message type of a state. None: it has none, or no contract has it any more."""
    from weft.cli.keyed_states.keyed_state_view import JSON
    from weft.client import WeftError
    from weft.rpc.contracts.contract_reader import ContractReader

    if not kind or kind == JSON:
        return None
    try:
        return await ContractReader(mesh.channel()).resolve_message(kind)
    except WeftError:
        return None


def _raw(value: str) -> bytes:
    if not value.startswith("@"):
        raise Failure("--raw needs @FILE: bytes cannot be given as an argument", status=2)
    try:
        return Path(value[1:]).read_bytes()
    except (OSError, ValueError) as error:
        raise Failure(f"cannot read {value[1:]}: {error}", status=2) from None
