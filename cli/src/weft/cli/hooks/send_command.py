"""`weft hooks send`: events that are sent to other systems."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from weft.cli.command_line import completion, inputs
from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.command_line.task_options import NO_TASK_OPTIONS, TaskOptions, with_task_options
from weft.cli.hooks.made_hooks import SecretFile, known, print_made, read_secret
from weft.cli.terminal.failure import Failure

if TYPE_CHECKING:
    from weft.client import Mesh, NewSecret, Webhook


@examples(
    "weft hooks send alarms https://ops.example.com/weft --on task-ended --method 'acme.*' --state FAILED",
    "weft hooks send nightly https://ops.example.com/weft --on group-ended --of-group 'nightly-*'",
    "weft hooks send orders https://shop.example.com/hook --event acme.shop.v1.OrderPlaced --filter 'event.total > 100'",
)
@with_task_options
def send(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="1 to 128 letters, digits, '.', '_', '-' and '/'.")
    ],
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="Where to; coordinators must allow its host (setting hook_hosts)."
        ),
    ],
    on: Annotated[str, typer.Option(metavar="task-ended|group-ended", help="What is sent; or --event.")] = "",
    methods: Annotated[
        list[str] | None,
        typer.Option("--method", metavar="PATTERN", help="task-ended: of these methods alone; repeatable."),
    ] = None,
    states: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help="task-ended: with these states alone: SUCCEEDED, FAILED or CANCELLED; repeatable.",
        ),
    ] = None,
    groups: Annotated[
        list[str] | None,
        typer.Option("--of-group", metavar="PATTERN", help="group-ended: of these groups alone; repeatable."),
    ] = None,
    event: Annotated[
        str,
        typer.Option(metavar="TYPE", help="Events of this message type.", autocompletion=completion.topics),
    ] = "",
    condition: Annotated[
        str,
        typer.Option(
            "--filter", metavar="CEL", help="Only events for which this is true, such as `event.total > 100`."
        ),
    ] = "",
    secret_file: SecretFile = "",
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="If there is a hook of this name, change what it sends and where to; its secret stays.",
        ),
    ] = False,
    tasks: TaskOptions = NO_TASK_OPTIONS,
    limit_s: inputs.LimitS = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Send ends of tasks or groups, or events, to a URL.

    Signed by the rules of Standard Webhooks. Each is a durable task, which is tried again with growing pauses. Prints the secret, which is never
    shown again.
    """
    from weft.cli.process.command_runner import run
    from weft.client import TaskState

    if bool(on) == bool(event) or on not in {"", "task-ended", "group-ended"}:
        raise Failure("say what is sent: --on task-ended, --on group-ended, or --event TYPE", status=2)
    wanted = [each.upper() for each in states or ()]
    if unknown := [each for each in wanted if each not in {"SUCCEEDED", "FAILED", "CANCELLED"}]:
        raise Failure(f"--state is {unknown[0]!r}; it must be SUCCEEDED, FAILED or CANCELLED", status=2)
    if replace and secret_file:
        raise Failure("--replace keeps the secret: `weft hooks rotate` gives another one", status=2)
    secret, options = read_secret(secret_file), tasks.submit_options(limit_s)

    async def work(mesh: Mesh) -> Webhook | NewSecret:
        topic = (await inputs.resolve_message(mesh, event)).name if event else None
        make: Callable[..., Awaitable[Webhook | NewSecret]] = partial(mesh.hooks.send, secret=secret)
        if replace and await known(mesh, name):
            make = mesh.hooks.update_sending
        return await make(
            name,
            url,
            on=cast("Any", on or "event"),
            methods=methods or (),
            states=[TaskState[each] for each in wanted],
            groups=groups or (),
            event=topic,
            filter=condition,
            **options,
        )

    print_made(run(target, work), secret, as_json=as_json)
