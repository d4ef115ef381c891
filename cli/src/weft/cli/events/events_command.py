"""`weft events ...`: publish events, follow and list them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line import completion, inputs
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, ShowSecrets, Target, key_values
from weft.cli.command_line.task_options import NO_TASK_OPTIONS, TaskOptions, with_task_options
from weft.cli.events import cloud_event_files
from weft.cli.events.consume_command import consume
from weft.cli.events.event_options import (
    TYPE_HELP,
    After,
    Condition,
    Count,
    Names,
    Since,
    Type,
    check_start,
    moment,
)
from weft.cli.steering.id_changes import change_names
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import json_text, line, remark
from weft.cli.terminal.tables import print_rows

if TYPE_CHECKING:
    from cloudevents.core.base import BaseCloudEvent

    from weft.client import Event, Mesh, Published, Subscription, Topic
    from weft.rpc.contracts.contract_reader import ResolvedMessage

_HELP = with_examples(
    "Publish, follow, consume and list events (messages that go to all who subscribe), and make tasks of them.",
    'weft events publish acme.shop.v1.OrderPlaced \'{"order_id": "o-1"}\'',
    "weft events tail acme.shop.v1.OrderPlaced",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)


@app.command()
@examples(
    'weft events publish acme.shop.v1.OrderPlaced \'{"order_id": "o-1"}\' --key o-1',
    "weft events publish OrderPlaced @order.json --id o-1-placed",
    "weft events publish --cloudevent order.json",
)
def publish(
    kind: Annotated[
        str, typer.Argument(metavar="[TYPE]", help=TYPE_HELP, autocompletion=completion.topics)
    ] = "",
    message: Annotated[
        str,
        typer.Argument(
            metavar="[JSON|@FILE|-]", help="The message as JSON, a file with it, or - for standard input."
        ),
    ] = "",
    key: Annotated[
        str,
        typer.Option(metavar="KEY", help="What the event is about: events of one key stay in order."),
    ] = "",
    event_id: Annotated[
        str,
        typer.Option(
            "--id",
            metavar="ID",
            help="Within two minutes, events with the same id are one. [default: generated]",
        ),
    ] = "",
    attributes: Annotated[
        list[str] | None,
        typer.Option("--attribute", metavar="NAME=VALUE", help="An attribute of the event; repeatable."),
    ] = None,
    cloudevent: Annotated[
        str,
        typer.Option(
            "--cloudevent",
            metavar="FILE",
            help="Publish a CloudEvent in JSON, an array of them, or one in protobuf (FILE.binpb); - for standard input. "
            "TYPE is needed if none of `dataschema` and `type` is a message type.",
        ),
    ] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Publish an event, and print its sequence."""
    from weft.cli.process.command_runner import run

    given = dict(key_values(attributes or [], "--attribute"))
    events: list[BaseCloudEvent] = []
    if cloudevent:
        if message or key or event_id or given:
            raise Failure(
                "a CloudEvent has its own message, key, id and attributes: give its TYPE alone", status=2
            )
        events = cloud_event_files.read(cloudevent)
    elif not kind or not message:
        raise Failure("give a TYPE and its message as JSON, or --cloudevent FILE", status=2)
    text = "" if cloudevent else inputs.read_text(message)

    async def work(mesh: Mesh) -> Sequence[Published]:
        if cloudevent:
            return await mesh.events.publish_all(await cloud_event_files.to_publish(mesh, events, kind))
        resolved = await inputs.resolve_message(mesh, kind)
        payload = resolved.message_class.FromString(resolved.from_json(text))
        return [await mesh.events.publish(payload, key=key, event_id=event_id, attributes=given)]

    for each in run(target, work):
        document = {"sequence": each.sequence, "id": each.id, "existed": each.existed}
        line(json_text(document) if as_json else str(each.sequence))


@app.command()
@examples(
    "weft events tail acme.shop.v1.OrderPlaced",
    "weft events tail OrderPlaced --after 0 --json",
    "weft events tail OrderPlaced --since 2030-01-31T12:00 --count 10",
)
def tail(
    kind: Type,
    after: After = None,
    since: Since = "",
    condition: Condition = "",
    count: Count = None,
    cloudevents: Annotated[
        bool, typer.Option("--cloudevents", help="Print each as a CloudEvent in JSON, one a line.")
    ] = False,
    target: Target = DEFAULT_TARGET,
    show_secrets: ShowSecrets = False,
    as_json: Json = False,
) -> None:
    """Follow a topic: print each event as it is published.

    Until interrupted. If this command cannot keep up, events are left out, which is said on standard error; with --after or --since, none is.
    """
    from weft.cli.events.event_view import EventView
    from weft.cli.process.command_runner import run

    check_start(after, since)
    begin = moment(since)

    async def work(mesh: Mesh) -> None:
        resolved = await inputs.resolve_message(mesh, kind)
        view, left = EventView(resolved, show_secrets=show_secrets), count
        async for event in mesh.events.subscribe(resolved.name, after=after, since=begin, filter=condition):
            if event.missed:
                remark(f"{event.missed} events are left out")
            if cloudevents:
                line(cloud_event_files.json_line(event, view))
            else:
                line(json_text(view.document(event)) if as_json else view.words(event))
            if left is not None and (left := left - 1) == 0:
                return

    run(target, work)


app.command()(consume)


@app.command("list")
@examples(
    "weft events list",
    "weft events list acme.shop.v1.OrderPlaced",
    "weft events list OrderPlaced --after 120 --limit 50 --json",
)
def list_events(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="[TYPE]", help=f"{TYPE_HELP} None: list the topics.", autocompletion=completion.topics
        ),
    ] = "",
    after: After = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Most events.")] = 100,
    target: Target = DEFAULT_TARGET,
    show_secrets: ShowSecrets = False,
    as_json: Json = False,
) -> None:
    """List topics, or the kept events of one.

    Topics are listed if they have had events. Events come oldest first.
    """
    from weft.cli.events import event_view
    from weft.cli.process.command_runner import run

    if not kind:
        if after is not None:
            raise Failure("--after is for the events of one topic: give a TYPE", status=2)
        topics = run(target, _topics)
        if as_json:
            line(json_text([event_view.topic_document(topic) for topic in topics]))
        else:
            print_rows(
                event_view.TOPIC_COLUMNS, [event_view.topic_row(topic) for topic in topics], "no topics"
            )
        return

    async def work(mesh: Mesh) -> tuple[ResolvedMessage, list[Event[bytes]]]:
        resolved = await inputs.resolve_message(mesh, kind)
        found: list[Event[bytes]] = []
        async for event in mesh.events.list(resolved.name, after=after or 0):
            found.append(event)
            if len(found) == limit:
                break
        return resolved, found

    resolved, found = run(target, work)
    view = event_view.EventView(resolved, show_secrets=show_secrets)
    if as_json:
        line(json_text([view.document(event) for event in found]))
        return
    for event in found:
        line(view.words(event))
    if not found:
        remark("no events")


@app.command()
@examples(
    "weft events subscribe big-orders OrderPlaced Warehouse/Reserve --filter 'event.total > 100'",
    "weft events subscribe all-orders OrderPlaced Warehouse/Count --after 0",
)
@with_task_options
def subscribe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the new subscription.")],
    kind: Type,
    method: inputs.MethodName,
    condition: Condition = "",
    after: After = None,
    tasks: TaskOptions = NO_TASK_OPTIONS,
    limit_s: inputs.LimitS = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Let each event of a topic become a task of a method.

    The same command again is harmless. Exit status 1 if there is another subscription of this name.
    """
    from weft.cli.process.command_runner import run

    options = tasks.submit_options(limit_s)

    async def work(mesh: Mesh) -> Subscription:
        topic = (await inputs.resolve_message(mesh, kind)).name
        called = (await inputs.resolve(mesh, method)).name
        return await mesh.subscriptions.create(name, topic, called, filter=condition, after=after, **options)

    _print_changed(run(target, work), as_json=as_json)


@app.command()
@examples("weft events subscriptions", "weft events subscriptions --json")
def subscriptions(target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """List subscriptions: events that become tasks.

    A row says how far a subscription has come, and why it does not go on, if that is so.
    """
    from weft.cli.events import event_view
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> tuple[list[Subscription], dict[str, int]]:
        found = [each async for each in mesh.subscriptions.list()]
        return found, {topic.name: topic.last for topic in await _topics(mesh)} if found else {}

    found, last = run(target, work)
    if as_json:
        line(json_text([event_view.subscription_document(each) for each in found]))
    else:
        rows = [event_view.subscription_row(each, last.get(each.topic, 0)) for each in found]
        print_rows(event_view.SUBSCRIPTION_COLUMNS, rows, "no subscriptions")


@app.command()
@examples("weft events pause big-orders --reason 'the warehouse moves'")
def pause(
    names: Names,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever lists them.")] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Pause subscriptions: no tasks until they are resumed."""
    change_names(
        names, lambda mesh, name: mesh.subscriptions.pause(name, reason), _shown, target, as_json=as_json
    )


@app.command()
@examples("weft events resume big-orders")
def resume(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Resume subscriptions, from where they stopped."""
    change_names(names, lambda mesh, name: mesh.subscriptions.resume(name), _shown, target, as_json=as_json)


@app.command()
@examples("weft events seek big-orders --after 0", "weft events seek big-orders --since 2030-01-31T12:00")
def seek(
    names: Names,
    after: After = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Go on with the first kept event of this time or later.")
    ] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Let subscriptions go on at another place. Events become tasks once more."""
    if (after is None) == (not since):
        raise Failure("say where to go on: by --after or by --since", status=2)
    begin = moment(since)
    change_names(
        names,
        lambda mesh, name: mesh.subscriptions.seek(name, after=after, since=begin),
        _shown,
        target,
        as_json=as_json,
    )


@app.command()
@examples("weft events unsubscribe big-orders")
def unsubscribe(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Delete subscriptions. Their tasks stay."""

    async def deleted(mesh: Mesh, name: str) -> str:
        await mesh.subscriptions.delete(name)
        return name

    change_names(
        names,
        deleted,
        lambda name: ({"name": name, "deleted": True}, f"{name} deleted"),
        target,
        as_json=as_json,
    )


def _shown(subscription: Subscription) -> tuple[dict[str, Any], str]:
    from weft.cli.events.event_view import subscription_document

    words = "paused" if subscription.paused else f"goes on after event {subscription.cursor}"
    return subscription_document(subscription), f"{subscription.name} {words}"


def _print_changed(subscription: Subscription, *, as_json: bool) -> None:
    document, text = _shown(subscription)
    line(json_text(document) if as_json else text)


async def _topics(mesh: Mesh) -> list[Topic]:
    return [topic async for topic in mesh.events.topics()]
