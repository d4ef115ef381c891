"""Arguments and options that the commands of events share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from weft.cli.command_line import completion
from weft.cli.terminal.failure import Failure

TYPE_HELP = "The message type: its full name, or the end of that name if it is unique."
Type = Annotated[str, typer.Argument(metavar="TYPE", help=TYPE_HELP, autocompletion=completion.topics)]
Names = Annotated[
    list[str],
    typer.Argument(metavar="NAME", help="Names of subscriptions.", autocompletion=completion.subscriptions),
]
Condition = Annotated[
    str,
    typer.Option(
        "--filter", metavar="CEL", help="Only events for which this is true, such as `event.total > 100`."
    ),
]
After = Annotated[
    int | None,
    typer.Option(metavar="SEQUENCE", min=0, help="Begin after this event; 0: with the oldest kept one."),
]
Since = Annotated[
    str, typer.Option(metavar="TIME", help="Begin with the first kept event of this time or later.")
]
Count = Annotated[int | None, typer.Option(metavar="N", min=1, help="End after so many events.")]


def check_start(after: int | None, since: str) -> None:
    """Refuse two places to begin."""
    if after is not None and since:
        raise Failure("say where to begin: by --after or by --since, not both", status=2)


def moment(text: str) -> datetime | None:
    """The time of `--since`; None if it is not given.

    Raises:
        Failure: it is no time.
    """
    if not text:
        return None
    try:
        # A time without a zone is local time.
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise Failure(
            f"--since is {text!r}; it must be a time, such as 2030-12-31T23:00 or 2030-12-31T23:00+01:00",
            status=2,
        ) from None
