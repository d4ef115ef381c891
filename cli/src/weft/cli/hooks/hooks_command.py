"""`weft hooks ...`: webhooks of other systems, and to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from weft.cli.command_line import completion, inputs
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.command_line.task_options import NO_TASK_OPTIONS, TaskOptions, with_task_options
from weft.cli.hooks.made_hooks import SecretFile, known, print_made, print_secret, read_secret, shown
from weft.cli.hooks.send_command import send
from weft.cli.hooks.try_command import try_request
from weft.cli.steering.id_changes import change_names
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import json_text, line
from weft.cli.terminal.tables import print_pairs, print_rows

if TYPE_CHECKING:
    from weft.client import HookSigning, Mesh, NewSecret, Webhook
    from weft.client.webhook_snapshot import HookKind

_HELP = with_examples(
    "Webhooks: signed requests of other systems become tasks or events (weft coordinator --hooks HOST:PORT); ends of tasks and groups, and events, are sent to"
    " others.",
    'weft hooks add github deploys Deploy/Start --template \'{"ref": "${body.ref}"}\'',
    "weft hooks list",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The hook's name.", autocompletion=completion.hooks)
]
Names = Annotated[
    list[str], typer.Argument(metavar="NAME", help="Names of hooks.", autocompletion=completion.hooks)
]
_KINDS = ("github", "gitlab", "stripe", "standard", "generic")

app.command()(send)
app.command("test")(try_request)


@app.command()
@examples(
    'weft hooks add github deploys Deploy/Start --template \'{"ref": "${body.ref}"}\'',
    "weft hooks add stripe payments --event acme.shop.v1.Payment --key '${body.data.object.customer}' --secret-file stripe.secret",
    "weft hooks add generic slack Bot/Answer --header X-Slack-Signature --prefix v0= --time-header X-Slack-Request-Timestamp"
    " --content 'v0:{time}:{body}' --secret-file slack.secret",
)
@with_task_options
def add(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help="How requests are signed: github, gitlab, stripe, standard or generic."
        ),
    ],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="1 to 128 letters, digits, '.', '_', '-' and '/'.")
    ],
    method: Annotated[
        str,
        typer.Argument(
            metavar="[METHOD]",
            help="Each request becomes a task of it: pkg.Service/Method, or the end of that name if it is unique.",
            autocompletion=completion.methods,
        ),
    ] = "",
    event: Annotated[
        str,
        typer.Option(
            metavar="TYPE",
            help="Each request becomes an event of this message type, instead of a task.",
            autocompletion=completion.topics,
        ),
    ] = "",
    key: Annotated[
        str, typer.Option(metavar="TEXT", help="The event's key, such as '${body.order.id}'.")
    ] = "",
    template: Annotated[
        str,
        typer.Option(
            metavar="JSON|@FILE",
            help="The message, with placeholders: ${body.PATH}, ${headers.NAME}, ${query.NAME}, ${delivery}. [default: the body itself]",
        ),
    ] = "",
    condition: Annotated[
        str,
        typer.Option(
            "--filter",
            metavar="CEL",
            help='Only requests for which this is true, such as `body.action == "opened"`.',
        ),
    ] = "",
    secret_file: SecretFile = "",
    tolerance_s: Annotated[
        float | None,
        typer.Option(
            "--tolerance-s", metavar="S", min=1, help="How far a signed time may be from now. [default: 300]"
        ),
    ] = None,
    header: Annotated[
        str,
        typer.Option(metavar="NAME", help="generic: the header with the signature. [default: X-Signature]"),
    ] = "",
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="generic: what is before the signature.")] = "",
    encoding: Annotated[
        str, typer.Option(metavar="hex|base64", help="generic: how it is written. [default: hex]")
    ] = "",
    digest: Annotated[
        str, typer.Option(metavar="sha256|sha512", help="generic: its digest. [default: sha256]")
    ] = "",
    time_header: Annotated[
        str, typer.Option(metavar="NAME", help="generic: the header with the time, in seconds since 1970.")
    ] = "",
    id_header: Annotated[
        str, typer.Option(metavar="NAME", help="generic: the header with the id of the delivery.")
    ] = "",
    content: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="generic: what is signed, of {body}, {time} and {id}. [default: {body}, or {time}.{body}]",
        ),
    ] = "",
    tasks: TaskOptions = NO_TASK_OPTIONS,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="If there is a hook of this name, change what it does; its secret stays."
        ),
    ] = False,
    limit_s: inputs.LimitS = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Let requests of another system become tasks or events.

    Prints the path of the hook at the coordinators' port for webhooks, and its secret, which is never shown again.
    """
    from weft.cli.process.command_runner import run

    if kind not in _KINDS:
        raise Failure(f"there is no kind of hook {kind!r}; there are {', '.join(_KINDS)}", status=2)
    if bool(method) == bool(event):
        raise Failure("say what requests become: a METHOD, or --event TYPE", status=2)
    if replace and secret_file:
        raise Failure("--replace keeps the secret: `weft hooks rotate` gives another one", status=2)
    if key and not event:
        raise Failure("--key is for --event alone", status=2)
    signing = _signing(
        kind,
        header=header,
        prefix=prefix,
        encoding=encoding,
        digest=digest,
        time_header=time_header,
        id_header=id_header,
        content=content,
    )
    text = inputs.read_text(template) if template else ""
    secret, options = read_secret(secret_file), tasks.submit_options(limit_s)

    async def work(mesh: Mesh) -> Webhook | NewSecret:
        called = (await inputs.resolve(mesh, method)).name if method else None
        topic = (await inputs.resolve_message(mesh, event)).name if event else None
        make: Callable[..., Awaitable[Webhook | NewSecret]] = partial(mesh.hooks.add, secret=secret)
        if replace and await known(mesh, name):
            make = mesh.hooks.update
        return await make(
            name,
            cast("HookKind", kind),
            method=called,
            event=topic,
            key=key,
            template=text,
            filter=condition,
            signing=signing,
            tolerance_s=tolerance_s,
            **options,
        )

    print_made(run(target, work), secret, as_json=as_json)


def _signing(kind: str, **given: str) -> HookSigning | None:
    from weft.client import HookSigning

    fields = {name: value for name, value in given.items() if value}
    if fields and kind != "generic":
        option = next(iter(fields)).replace("_", "-")
        raise Failure(f"--{option} is for generic hooks alone: {kind} has its own way to sign", status=2)
    # Their values are checked by the library.
    return HookSigning(**cast("Any", fields)) if kind == "generic" else None


@app.command("list")
@examples("weft hooks list", "weft hooks list --json")
def list_hooks(target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """List all hooks.

    A row says what requests become, how many were taken and refused, and why the last one was refused. Counts are some seconds old.
    """
    from weft.cli.hooks import hook_view
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> list[Webhook]:
        return [each async for each in mesh.hooks.list()]

    found = run(target, work)
    if as_json:
        line(json_text([hook_view.document(each) for each in found]))
    else:
        print_rows(hook_view.COLUMNS, [hook_view.row(each) for each in found], "no hooks")


@app.command()
@examples("weft hooks show deploys", "weft hooks show deploys --json")
def show(name: Name, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Show a hook.

    Its template and filter, its secrets without their values, and what became of its requests.
    """
    from weft.cli.hooks import hook_view
    from weft.cli.process.command_runner import run

    hook = run(target, lambda mesh: mesh.hooks.get(name))
    if as_json:
        line(json_text(hook_view.document(hook, full=True)))
    else:
        print_pairs(hook_view.facts(hook))


@app.command()
@examples("weft hooks pause deploys --reason 'the warehouse moves'")
def pause(
    names: Names,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever lists hooks.")] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Pause hooks.

    Their requests are answered with 503, so that senders try again.
    """
    change_names(names, lambda mesh, name: mesh.hooks.pause(name, reason), shown, target, as_json=as_json)


@app.command()
@examples("weft hooks resume deploys")
def resume(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Resume hooks."""
    change_names(names, lambda mesh, name: mesh.hooks.resume(name), shown, target, as_json=as_json)


@app.command()
@examples("weft hooks rotate deploys", "weft hooks rotate deploys --overlap-s 0 --secret-file new.secret")
def rotate(
    name: Name,
    secret_file: SecretFile = "",
    overlap_s: Annotated[
        float | None,
        typer.Option(
            "--overlap-s",
            metavar="S",
            min=0,
            help="How long the earlier secrets are right from now on; 0: not at all. [default: a day]",
        ),
    ] = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Give a hook another secret. The earlier one is right for a day, so that the other system can be changed meanwhile."""
    from weft.cli.process.command_runner import run

    secret = read_secret(secret_file)
    made = run(target, lambda mesh: mesh.hooks.rotate(name, secret=secret, overlap_s=overlap_s))
    print_secret(made, secret, as_json=as_json)


@app.command()
@examples("weft hooks remove deploys")
def remove(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Remove hooks. Their tasks and events stay."""

    async def removed(mesh: Mesh, name: str) -> str:
        await mesh.hooks.remove(name)
        return name

    change_names(
        names,
        removed,
        lambda name: ({"name": name, "removed": True}, f"{name} removed"),
        target,
        as_json=as_json,
    )
