"""`weft queues ...`: list queues; pause, resume and limit methods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from weft.cli.command_line import inputs
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal import moments
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import Styled, StyledText, json_text, line
from weft.cli.terminal.tables import Column, print_rows
from weft.rpc.contracts import names

if TYPE_CHECKING:
    from weft.client import Mesh, Queue, RunLimit
    from weft.client.fleet import Fleet
    from weft.rpc.task_policy.method_options import AtLimit

_HELP = with_examples(
    "List queues; pause, resume and limit methods.",
    "weft queues",
    "weft queues pause Greeter/Greet",
    "weft queues limit Greeter/Greet --max-running 5",
)
app = typer.Typer(help=_HELP, invoke_without_command=True, **SETTINGS)

_COLUMNS = (
    Column("method", cut=True),
    Column("requirements", below=True),
    Column("queued", right=True),
    Column("scheduled", right=True, spare=2),
    Column("running", right=True),
    Column("limited", right=True, spare=1),
    Column("agents", right=True),
    Column("oldest", right=True),
    Column(""),
    Column("waits for", below=True, cut=True),
    Column("limits", below=True),
)


def _checked_action(action: str | None) -> str | None:
    # Imported here: help is shown without gRPC.
    from weft.rpc.task_policy.method_options import AtLimit

    if action is not None and action not in get_args(AtLimit):
        raise typer.BadParameter(
            f"there is no action {action!r}; the actions are {', '.join(get_args(AtLimit))}"
        )
    return action


@app.callback(help=_HELP)
def queues(context: typer.Context, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """List queues; pause, resume and limit methods."""
    if context.invoked_subcommand is None:
        list_queues(target=target, as_json=as_json)


@app.command("list")
@examples(
    "weft queues list",
    "weft queues list --method Greeter/Greet --json",
)
def list_queues(
    method: inputs.MethodFilter = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """List queues. A queue is listed if it has tasks, is paused, or belongs to a hosted method."""
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> list[Queue]:
        found = list(await mesh.fleet.queues())
        if not method:
            return found
        of = inputs.one_of(method, {queue.method for queue in found})
        return [queue for queue in found if queue.method == of]

    _print(run(target, work), as_json=as_json)


@app.command()
@examples(
    "weft queues pause Greeter/Greet",
)
def pause(method: inputs.MethodName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Pause a method. Its tasks are not dispatched until it is resumed; new tasks are still stored."""
    _ask(method, lambda fleet, name: fleet.pause(name), target, as_json=as_json)


@app.command()
@examples(
    "weft queues resume Greeter/Greet",
)
def resume(method: inputs.MethodName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Resume a method. Its tasks are dispatched again."""
    _ask(method, lambda fleet, name: fleet.resume(name), target, as_json=as_json)


@app.command()
@examples(
    "weft queues show Greeter/Greet",
)
def show(method: inputs.MethodName, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Show the queues of a method."""
    _ask(method, lambda fleet, name: fleet.queues(name), target, as_json=as_json)


@app.command()
@examples(
    "weft queues limit Greeter/Greet --max-running 5 --rate 10",
    "weft queues limit Billing/Charge --key customer_id --max-running 1",
    "weft queues limit Greeter/Greet --clear",
)
def limit(
    method: inputs.MethodName,
    max_running: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Tasks that run at a time, over the whole fleet.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="R", help="Tasks that start each second, on average.")
    ] = None,
    burst: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Tasks that start at once after a pause. [default: as many as in one second]",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help='The limit holds for each value of this key apart: a path into the request, or metadata["x-tenant"].',
        ),
    ] = None,
    per_key: Annotated[
        bool, typer.Option("--per-key", help="The limit holds for each fairness key apart.")
    ] = False,
    at_limit: Annotated[
        str | None,
        typer.Option(
            metavar="ACTION",
            help="What happens to a task without room: queue, refuse, cancel_newest or cancel_oldest."
            " [default: as the method's policy says, or queue]",
            callback=_checked_action,
        ),
    ] = None,
    clear: Annotated[
        bool,
        typer.Option("--clear", help="Remove the limits that operators have set; with --key, only that one."),
    ] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Limit how many tasks of a method run or start. The limit holds at once, and also for queued tasks; running tasks go on.

    Of this limit and those of the method's contract the tighter holds.
    """
    from weft.client import InvalidArgument, RunLimit

    of, action = "fairness_key" if per_key else key, cast("AtLimit | None", at_limit)
    if per_key and key is not None:
        raise Failure("--per-key and --key: a limit has one key", status=2)
    if clear and any(given is not None for given in (max_running, rate, burst, at_limit)):
        raise Failure(
            "--clear removes limits: leave out --max-running, --rate, --burst and --at-limit", status=2
        )
    if not clear and max_running is None and rate is None:
        raise Failure("a limit needs --max-running or --rate; --clear removes limits", status=2)

    if clear:
        _ask(method, lambda fleet, name: fleet.clear_limits(name, of), target, as_json=as_json)
        return
    try:
        asked = RunLimit(of or "", max_running, rate, burst, action)
    except InvalidArgument as error:
        raise Failure(error.message, status=2) from None
    _ask(method, lambda fleet, name: fleet.limit(name, asked), target, as_json=as_json)


def _ask(
    method: str, ask: Callable[[Fleet, str], Awaitable[Sequence[Queue]]], target: str, *, as_json: bool
) -> None:
    """Read or change the queues of one method, and print them."""
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> Sequence[Queue]:
        return await ask(mesh.fleet, await inputs.queue_method(mesh, method))

    _print(run(target, work), as_json=as_json)


def limit_text(limit: RunLimit) -> str:
    """A run limit in words."""
    parts = [f"{limit.max_running} at a time"] if limit.max_running else []
    if limit.max_rate_per_s:
        parts.append(f"{limit.max_rate_per_s:g} a second")
    if limit.burst:
        parts.append(f"{limit.burst} at once")
    if limit.at_limit not in {None, "queue"}:
        parts.append(f"else {limit.at_limit}")
    return (f"{limit.key}: " if limit.key else "") + ", ".join(parts)


def _print(found: Sequence[Queue], *, as_json: bool) -> None:
    from weft.cli.rendering.documents import queue_document

    if as_json:
        line(json_text([queue_document(queue) for queue in found]))
        return
    methods = {queue.method for queue in found}
    # Services with the same name in different packages are shown with their packages.
    shared = {short for short, count in Counter(map(names.short, methods)).items() if count > 1}
    rows = [
        [queue.method if (short := names.short(queue.method)) in shared else short, *_row(queue)]
        for queue in found
    ]
    print_rows(_COLUMNS, rows, "no queues")


def _row(queue: Queue) -> list[StyledText]:
    return [
        queue.requirements,
        str(queue.queued),
        str(queue.scheduled),
        str(queue.running),
        str(queue.limited) if queue.limited else "",
        str(queue.agents),
        # Of the tasks that wait for no limit: others have no age here.
        moments.span(queue.oldest_age_s) if queue.queued > queue.limited else "",
        Styled("paused", "yellow") if queue.paused else "",
        "" if queue.paused else queue.waits_for,
        "; ".join(map(limit_text, queue.limits)),
    ]
