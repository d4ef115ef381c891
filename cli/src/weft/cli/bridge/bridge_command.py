"""`weft bridge ...`: what other systems queue becomes tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line import inputs
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Target, pairs
from weft.cli.command_line.task_options import NO_TASK_OPTIONS, TaskOptions, with_task_options
from weft.cli.terminal.failure import Failure

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.rpc.contracts.contract_reader import ResolvedMethod

_HELP = with_examples(
    "Bridges: what other systems queue becomes tasks.",
    "weft bridge amqp orders acme.v1.Orders/Place --broker amqp://127.0.0.1",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)

_IDS = ("message-id", "correlation-id", "none")
_BODIES = {"json": "application/json", "protobuf": "application/x-protobuf"}


@app.callback()
def bridge() -> None:
    """A group, although it has one command so far."""


@app.command()
@examples(
    "weft bridge amqp orders acme.v1.Orders/Place --broker amqp://127.0.0.1",
    "weft bridge amqp jobs --route resize=acme.v1.Images/Resize --route scan=acme.v1.Files/Scan",
    "WEFT_AMQP_URL=amqps://user:password@mq.example:5671/prod weft bridge amqp orders Orders/Place --results orders.done",
)
@with_task_options
def amqp(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The queue whose messages become tasks.")],
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="The method of all messages that no --route names.")
    ] = "",
    broker: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="WEFT_AMQP_URL",
            help="The broker: amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps://.... The variable keeps the password out of lists of"
            " processes.",
            show_default=True,
        ),
    ] = "amqp://127.0.0.1",
    route: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=METHOD", help="The method of messages with this routing key; repeatable."),
    ] = None,
    id_from: Annotated[
        str,
        typer.Option(
            "--id",
            metavar="|".join(_IDS),
            help="The property by which a message that comes again is known. none: each delivery is a task of its own.",
        ),
    ] = "message-id",
    body: Annotated[
        str,
        typer.Option(
            metavar="|".join(_BODIES), help="What messages without a content type have as their body."
        ),
    ] = "json",
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A header that handlers see, as metadata; repeatable."),
    ] = None,
    results: Annotated[
        str,
        typer.Option(
            metavar="EXCHANGE",
            help="Publish the reply of each task there, too. Messages with reply_to get theirs in any case.",
        ),
    ] = "",
    results_key: Annotated[
        str, typer.Option(metavar="KEY", help="With --results: the routing key. [default: the message's]")
    ] = "",
    dead_letter: Annotated[
        str | None,
        typer.Option(
            metavar="QUEUE",
            help="The queue for messages that cannot be tasks, made if there is none. '': reject them, and the broker does what the"
            " queue's policy says. [default: QUEUE.dead]",
        ),
    ] = None,
    window: Annotated[
        int, typer.Option(metavar="N", min=1, max=65_535, help="The most messages under way.")
    ] = 256,
    target: Target = DEFAULT_TARGET,
    tasks: TaskOptions = NO_TASK_OPTIONS,
    limit_s: inputs.LimitS = None,
) -> None:
    """Make tasks of the messages of a RabbitMQ queue.

    Each is answered with its task's result, if it says where to. A message is acknowledged when its task is stored or, if somebody waits for a reply, when the broker has the reply: nothing is lost, whoever is killed.
    One that comes again joins the task that it has. Until SIGTERM, SIGHUP or Ctrl-C.
    """
    from weft.cli.bridge.amqp_messages import header_key
    from weft.cli.process.command_runner import run
    from weft.rpc.process.extras import MissingExtra, require

    try:
        require("amqp", "weft bridge amqp")
    except MissingExtra as error:
        raise Failure(str(error)) from None
    from weft.cli.bridge.amqp_broker import BrokerAway, BrokerRefuses, where

    if id_from not in _IDS:
        raise Failure(f"--id is {id_from!r}; it must be {', '.join(_IDS[:-1])} or {_IDS[-1]}", status=2)
    if body not in _BODIES:
        raise Failure(f"--body is {body!r}; it must be {' or '.join(_BODIES)}", status=2)
    routes = pairs(route or [], "--route") | ({"": method} if method else {})
    if not routes:
        raise Failure("no method: name it after the queue, or by --route KEY=METHOD", status=2)
    for name in header or ():
        try:
            header_key(name)
        except ValueError as error:
            raise Failure(f"--header {name}: {error}", status=2) from None
    try:
        where(broker)
    except ValueError as error:
        raise Failure(f"--broker: {error}", status=2) from None
    options = tasks.submit_options(limit_s)
    kept = f"{queue}.dead" if dead_letter is None else dead_letter

    async def work(mesh: Mesh) -> None:
        from weft.cli.bridge.amqp_bridge import AmqpBridge, Way
        from weft.cli.bridge.amqp_messages import Rules
        from weft.cli.process.stop_event import stop_event

        methods = {key: await _replying(mesh, name) for key, name in routes.items()}
        rules = Rules(queue, methods, id_from, _BODIES[body], tuple(header or ()))
        way = Way(broker, queue, rules, results, results_key, kept, window, options)
        await AmqpBridge(mesh, way).run(stop_event())

    from weft.rpc.process import logs

    logs.configure()
    try:
        run(target, work)
    except (BrokerAway, BrokerRefuses) as error:
        raise Failure(str(error)) from None


async def _replying(mesh: Mesh, name: str) -> ResolvedMethod:
    """A method whose tasks have one response, or none that anybody waits for.

    Raises:
        Failure: it has a stream of them.
    """
    method = await inputs.resolve(mesh, name)
    if method.response_streaming:
        raise Failure(f"{method.name} answers with a stream: a message has one reply", status=2)
    return method
