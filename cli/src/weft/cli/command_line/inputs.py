"""Inputs of commands: JSON from the command line, a file or standard input; method names; metadata; requirements."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line import completion
from weft.cli.command_line.shared_options import key_values
from weft.cli.terminal.failure import Failure, system_reason
from weft.cli.terminal.streams import as_utf8

if TYPE_CHECKING:
    from weft.client import Lock, Mesh
    from weft.rpc.contracts.contract_reader import ResolvedMessage, ResolvedMethod

MethodName = Annotated[
    str,
    typer.Argument(
        metavar="METHOD",
        help="The method: pkg.Service/Method, or the end of that name if it is unique.",
        autocompletion=completion.methods,
    ),
]
MethodFilter = Annotated[
    str,
    typer.Option(
        metavar="METHOD",
        help="Only this method: its full name, or the end of it, such as Service/Method.",
        autocompletion=completion.methods,
    ),
]
JsonInput = Annotated[
    str,
    typer.Argument(
        metavar="JSON|@FILE|-", help="The request as JSON, a file with it, or - for standard input."
    ),
]
Metadata = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata",
        metavar="KEY=VALUE",
        help="Metadata for the handler; repeatable. If the key ends in -bin, the value is base64.",
    ),
]
Priority = Annotated[
    int | None,
    typer.Option(
        metavar="0-9",
        help="Priority of the task, highest first. [default: as the method's policy says, or 5]",
    ),
]
DelayS = Annotated[
    float | None, typer.Option("--delay-s", metavar="S", help="Start the task so many seconds later.")
]
RequestId = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Idempotency key: the same id with the same request is one task."),
]
Agent = Annotated[
    str | None,
    typer.Option("--agent", metavar="ID", help="The one agent that may run it.", show_default=False),
]
NoWait = Annotated[
    bool,
    typer.Option(
        "--no-wait", help="Fail at once if no connected agent can run it, instead of waiting for one."
    ),
]
NoCache = Annotated[
    bool,
    typer.Option("--no-cache", help="Run it by itself, although its task policy has a cache."),
]
Require = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="A label that the agent must have, or KEY>=AMOUNT for a resource; repeatable.",
    ),
]

FairnessKey = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="Tasks with different keys have the queue's capacity in turns."),
]
GroupName = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="NAME",
        help="The group that the tasks belong to; made if there is none.",
        autocompletion=completion.groups,
    ),
]
Locks = Annotated[
    list[str] | None,
    typer.Option(
        "--lock", metavar="NAME", help="A lock that the task holds alone while it runs; repeatable."
    ),
]
StateLock = Annotated[
    str | None,
    typer.Option(
        "--state-lock",
        metavar="NAME",
        help="A lock that the task holds alone, and whose state its handler reads and changes.",
    ),
]
SharedLocks = Annotated[
    list[str] | None,
    typer.Option(
        "--shared-lock",
        metavar="NAME",
        help="A lock that the task shares with others while it runs; repeatable.",
    ),
]
Consumes = Annotated[
    list[str] | None,
    typer.Option(
        "--consume",
        metavar="RESOURCE=AMOUNT",
        help="An amount of the agent's resources that the task uses while it runs, such as gpu=1; repeatable.",
    ),
]
Budget = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        metavar="UNIT=AMOUNT",
        help="How much the task and all calls below it may use, such as tokens=10000 or active_s=60; repeatable.",
    ),
]
LimitS = Annotated[
    float | None,
    typer.Option("--limit-s", metavar="S", help="Time limit of each task, from its submission, in seconds."),
]

# Metadata keys -> the options that set them.
_OPTIONS = {
    "weft-request-id": "--request-id",
    "weft-require": "--require",
    "weft-fairness-key": "--fairness-key",
    "weft-group": "--group",
    "weft-lock": "--lock",
    "weft-shared-lock": "--shared-lock",
    "weft-state-lock": "--state-lock",
    "weft-consume": "--consume",
}


def read_text(source: str) -> str:
    """The text of an argument: the argument itself, a file (@FILE), or standard input (-)."""
    if source == "-":
        return _text("standard input", _standard_input)
    if source.startswith("@"):
        return _text(source[1:], Path(source[1:]).read_bytes)
    return as_utf8(source)


def _text(name: str, read: Callable[[], bytes]) -> str:
    try:
        # A byte order mark is optional.
        return read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        why = f"it is not UTF-8: byte {error.start + 1} is {error.object[error.start]:#04x}"
        raise Failure(f"cannot read {name}: {why}", status=2) from None
    except (OSError, ValueError) as error:
        raise Failure(f"cannot read {name}: {system_reason(error)}", status=2) from None


def _standard_input() -> bytes:
    # None if the descriptor was closed when Python started.
    if sys.stdin is None:
        raise ValueError("it is closed")
    return sys.stdin.buffer.read()


def read_lines(source: str) -> Iterator[tuple[int, str]]:
    """The lines of a JSONL text with their numbers, without blank lines."""
    for number, text in enumerate(read_text(source).splitlines(), start=1):
        if text.strip():
            yield number, text


async def resolve(mesh: Mesh, name: str, *, durable: bool = True) -> ResolvedMethod:
    """Resolve a method by the coordinator's reflection.

    Args:
        durable: refuse a method that cannot be a task.

    Raises:
        Failure: no method has this name (the message names similar ones), or it cannot be a task.
    """
    from weft.rpc.contracts.contract_reader import ContractReader
    from weft.rpc.errors import NotFound

    reader = ContractReader(mesh.channel())
    try:
        method = await reader.resolve(name.removeprefix("/"))
    except NotFound:
        known = [entry.name for entry in await reader.methods()]
        method = await reader.resolve(one_of(name, known))
    if durable and not method.durable:
        raise Failure(
            f"{method.name} takes a stream of requests; only a method with a single request can be a task",
            "`weft call --direct` sends a stream of requests to an agent: one JSON document a line.",
            status=2,
        )
    return method


async def resolve_message(mesh: Mesh, name: str) -> ResolvedMessage:
    """Resolve a message type by the coordinator's reflection.

    Raises:
        Failure: no message type of a hosted contract has this name or this end of a name, or several have.
    """
    from weft.rpc.contracts.contract_reader import ContractReader
    from weft.rpc.errors import NotFound

    reader = ContractReader(mesh.channel())
    try:
        return await reader.resolve_message(name)
    except NotFound:
        known = await reader.message_types()
    found = [each for each in known if f".{each}".endswith(f".{name}")]
    if len(found) == 1:
        return await reader.resolve_message(found[0])
    if found:
        raise Failure(f"{name!r} stands for {' and '.join(sorted(found))}: give the full name", status=2)
    from weft.rpc.similar_names import similar_names

    near = similar_names(name, known, most=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise Failure(
        f"there is no message type {name!r} in the contracts that agents have registered{hint}", status=2
    )


def one_of(name: str, known: Collection[str]) -> str:
    """The one known method with this name or this end of a name.

    Raises:
        Failure: no method matches (the message names similar ones), or several match.
    """
    from weft.rpc.contracts import names

    found = names.meant(name, known)
    if len(found) == 1:
        return found[0]
    message = names.ambiguous_method(name, found) if found else names.unknown_method(name, known)
    raise Failure(message, status=2)


async def queue_method(mesh: Mesh, name: str) -> str:
    """The full name of a method with queues. A full name without queues is returned as it is: its tasks may still be stored.

    Raises:
        Failure: no method with queues matches, or several match.
    """
    from weft.rpc.contracts import names

    if not name:
        return ""
    known = {queue.method for queue in await mesh.fleet.queues()}
    if not names.meant(name, known) and "/" in name.strip("/") and "." in name:
        return name.removeprefix("/")
    return one_of(name, known)


async def check_known(mesh: Mesh, method: str) -> None:
    """Refuse an unknown method; called if no task of it was found.

    Raises:
        Failure: no queue and no contract has it (the message names similar methods).
    """
    from weft.rpc.contracts.contract_reader import ContractReader

    if method:
        known = {entry.name for entry in await ContractReader(mesh.channel()).methods()}
        one_of(method, known | {queue.method for queue in await mesh.fleet.queues()})


def request_bytes(method: ResolvedMethod, text: str, place: str = "") -> bytes:
    """Serialize a request from JSON text.

    Args:
        place: where the text is, such as "line 3: ", for the message.

    Raises:
        Failure: the text is not JSON, or does not fit the method's request type.
    """
    from weft.rpc.errors import InvalidArgument

    try:
        return method.request_from_json(text)
    except InvalidArgument as error:
        raise Failure(f"{place}{error.message}", status=2) from None


def metadata_entries(values: list[str], *, own_keys: bool = False) -> list[tuple[str, str | bytes]]:
    """Parse `--metadata` options, in their order. Keys may be repeated.

    Args:
        own_keys: accept call keys (`weft-*`) too.

    Raises:
        typer.BadParameter: an entry cannot be sent.
    """
    from weft.rpc.calls.call_keys import PREFIX
    from weft.rpc.calls.metadata import belongs_to_caller

    entries: list[tuple[str, str | bytes]] = []
    for key, value in key_values(values, "--metadata"):
        if not belongs_to_caller(key) and not (own_keys and key.startswith(PREFIX)):
            raise typer.BadParameter(
                f"{key} belongs to gRPC or weft: choose another key", param_hint="--metadata"
            )
        entries.append((key, _decoded(key, value) if key.endswith("-bin") else value))
    check_sendable(entries)
    return entries


def _decoded(key: str, value: str) -> bytes:
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except ValueError:
        raise typer.BadParameter(
            f"{key} ends in -bin, so its value must be base64; {value!r} is not base64",
            param_hint="--metadata",
        ) from None


def check_sendable(entries: Iterable[tuple[str, str | bytes]]) -> None:
    """Refuse metadata that gRPC cannot send, and name the option that sets it.

    Raises:
        typer.BadParameter: a key or a value has characters that gRPC does not allow.
    """
    from weft.rpc.calls.metadata import unfit

    for key, value in entries:
        if why := unfit([(key, value)]):
            if key in _OPTIONS:
                raise typer.BadParameter(f"{value!r} is not printable ASCII", param_hint=_OPTIONS[key])
            hint = f"; write {key.lower()}" if not unfit([(key.lower(), value)]) else ""
            raise typer.BadParameter(f"{why}{hint}", param_hint="--metadata")


def locks(names: list[str] | None, shared: list[str] | None, state: str | None) -> list[Lock]:
    """The locks of `--lock`, `--shared-lock` and `--state-lock`."""
    from weft.client import Lock

    keeping = [] if state is None else [Lock(state, state=True)]
    return [*map(Lock, names or ()), *(Lock(name, shared=True) for name in shared or ()), *keeping]


def amounts(values: list[str] | None, option: str) -> dict[str, float]:
    """Parse amounts, such as `gpu=1`."""
    found: dict[str, float] = {}
    for text in values or ():
        resource, _, amount = text.partition("=")
        try:
            found[resource] = float(amount)
        except ValueError:
            what = "UNIT" if option == "--budget" else "RESOURCE"
            raise typer.BadParameter(f"{text!r} is not {what}=AMOUNT", param_hint=option) from None
    return found


def requirements(values: list[str]) -> tuple[dict[str, str], dict[str, float]]:
    """Parse `--require` options: labels such as `zone=eu`, and resources such as `gpu>=1`."""
    labels: dict[str, str] = {}
    resources: dict[str, float] = {}
    for text in values:
        key, at_least, amount = text.partition(">=")
        if at_least:
            try:
                resources[key] = float(amount)
            except ValueError:
                raise typer.BadParameter(f"{amount!r} is not a number", param_hint="--require") from None
            continue
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE or KEY>=AMOUNT", param_hint="--require")
        labels[key] = value
    return labels, resources
