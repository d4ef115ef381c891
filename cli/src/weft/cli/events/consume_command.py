"""`weft events consume`: take the events of a subscription, one at a time, and acknowledge each when it is dealt with."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line import completion, inputs
from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, ShowSecrets, Target
from weft.cli.events.event_options import After, Condition, Count, Since, Type, check_start, moment
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import json_text, line

if TYPE_CHECKING:
    from weft.cli.events.event_view import EventView
    from weft.client import ConsumedEvent, Mesh

DEFAULT_LIMIT_S = 300.0


@examples(
    "weft events consume mailer OrderPlaced",
    "weft events consume mailer OrderPlaced --filter 'event.total > 100' --exec ./send-mail",
    "weft events consume archive OrderPlaced --after 0 --count 100 --json",
)
def consume(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="The name of the subscription, which is made if there is none.",
            autocompletion=completion.subscriptions,
        ),
    ],
    kind: Type,
    condition: Condition = "",
    after: After = None,
    since: Since = "",
    program: Annotated[
        str,
        typer.Option(
            "--exec",
            metavar="COMMAND",
            help="Run this for each event, with the event as JSON on its standard input; without a shell.",
        ),
    ] = "",
    limit_s: Annotated[
        float,
        typer.Option(
            "--limit-s", metavar="S", min=0.001, help="Time limit of each run of --exec, in seconds."
        ),
    ] = DEFAULT_LIMIT_S,
    count: Count = None,
    target: Target = DEFAULT_TARGET,
    show_secrets: ShowSecrets = False,
    as_json: Json = False,
) -> None:
    """Take the events of a subscription, and acknowledge them.

    Each comes at least once, in order by key. All that consume by one name share its events. An event is acknowledged when it is printed, or when the command of --exec has ended with status 0; if it ends otherwise, this ends with
    status 1, and the event comes again. The command's environment has WEFT_EVENT_TOPIC, WEFT_EVENT_SEQUENCE, WEFT_EVENT_ID and WEFT_EVENT_KEY.
    --filter, --after and --since are for a subscription that is made now. Until interrupted.
    """
    from contextlib import aclosing

    from weft.cli.events.event_view import EventView
    from weft.cli.process.command_runner import run

    check_start(after, since)
    begin = moment(since)
    words = _words(program)

    async def work(mesh: Mesh) -> None:
        resolved = await inputs.resolve_message(mesh, kind)
        view, left = EventView(resolved, show_secrets=show_secrets or bool(words)), count
        taken = mesh.subscriptions.consume(
            name,
            resolved.name,
            filter=condition,
            after=after,
            since=begin,
            # Others may have what this one would only hold.
            max_unacknowledged=16 if words else 0,
        )
        async with aclosing(taken) as events:
            async for event in events:
                if words:
                    await _run(words, event, view, limit_s)
                else:
                    line(json_text(view.document(event)) if as_json else view.words(event))
                event.acknowledge()
                if left is not None and (left := left - 1) == 0:
                    return

    run(target, work)


def _words(program: str) -> list[str]:
    """
    Raises:
        Failure: it is no command.
    """
    try:
        words = shlex.split(program)
    except ValueError as error:
        raise Failure(f"--exec is {program!r}: {error}", status=2) from None
    if words and shutil.which(words[0]) is None:
        raise Failure(f"--exec: there is no program {words[0]!r}", status=2)
    return words


async def _run(words: list[str], event: ConsumedEvent[Any], view: EventView, limit_s: float) -> None:
    """Let the command deal with an event.

    Raises:
        Failure: it has not.
    """
    env = {
        "WEFT_EVENT_TOPIC": event.topic,
        "WEFT_EVENT_SEQUENCE": str(event.sequence),
        "WEFT_EVENT_ID": event.id,
        # A variable cannot hold this character, which a key may.
        "WEFT_EVENT_KEY": event.key.replace("\0", ""),
    }
    document = json_text(view.document(event)).encode() + b"\n"
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.PIPE, env=os.environ | env
    )
    try:
        async with asyncio.timeout(limit_s):
            # Whether it reads the event is its own affair: it may end before it could. uvloop says so by RuntimeError.
            with contextlib.suppress(RuntimeError, OSError):
                await process.communicate(document)
            await process.wait()
    except TimeoutError:
        why = f"did not end within {limit_s:g} s"
    else:
        if process.returncode == 0:
            return
        why = f"ended with status {process.returncode}"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    raise Failure(
        f"{words[0]} {why}: event {event.sequence} of {event.topic} is not acknowledged, and comes again"
    )
