"""`weft sessions ...`: sticky sessions, and the agents that have them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line import completion
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.session_options import SessionModeName, sticky_session
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal.output import json_text, line
from weft.cli.terminal.tables import Column, print_rows

if TYPE_CHECKING:
    from weft.client import Mesh, StickySessionInfo

_HELP = with_examples(
    "Sticky sessions: calls of a service with one key go to one agent.",
    "weft sessions list",
    "weft sessions end acme.v1.Chat conversation-7",
)
app = typer.Typer(name="sessions", help=_HELP, no_args_is_help=True, **SETTINGS)
_COLUMNS = (
    Column("service", cut=True),
    Column("session", cut=True),
    Column("mode"),
    Column("agent"),
    Column("since"),
    Column("ends in"),
    Column("lost", spare=1),
)


@app.command("list")
@examples("weft sessions list", "weft sessions list --agent worker-1 --json")
def list_sessions(
    agent: Annotated[
        str,
        typer.Option(
            "--agent", metavar="ID", help="Only those of this agent.", autocompletion=completion.agent_ids
        ),
    ] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """List the sticky sessions with their agents.

    Each with the time until it ends, if no call comes.
    """
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> Sequence[StickySessionInfo]:
        return await mesh.fleet.sessions(agent)

    found = run(target, work)
    if as_json:
        for each in found:
            line(json_text(_document(each)))
        return
    now = datetime.now(UTC)
    rows = [
        (
            each.service,
            each.session.key,
            each.session.mode,
            each.agent_id,
            f"{each.began_at.astimezone():%Y-%m-%d %H:%M:%S}",
            f"{max(0.0, (each.expires_at - now).total_seconds()):.0f} s",
            each.lost,
        )
        for each in found
    ]
    print_rows(_COLUMNS, rows, "there are no sticky sessions")


def _document(each: StickySessionInfo) -> dict[str, Any]:
    return {
        "service": each.service,
        "session": each.session.key,
        "mode": each.session.mode,
        "idle_ttl_s": each.session.idle_ttl_s,
        "agent_id": each.agent_id,
        "began_at": each.began_at.isoformat(),
        "expires_at": each.expires_at.isoformat(),
        "lost": each.lost,
    }


@app.command()
@examples(
    "weft sessions end acme.v1.Chat conversation-7",
    "weft sessions end acme.v1.Chat conversation-7 --session-mode hard",
)
def end(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="The service, or a method of it.")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="The session's key.")],
    session_mode: SessionModeName = None,
    target: Target = DEFAULT_TARGET,
) -> None:
    """End a sticky session: its next call begins a new one.

    That may get another agent. Of a hard session that is lost, so does a caller who begins anew.
    """
    from weft.cli.process.command_runner import run

    session = sticky_session(key, session_mode, None)
    assert session is not None

    async def work(mesh: Mesh) -> None:
        await mesh.fleet.end_session(service, session)

    run(target, work)
    line(f"session {key} of {service.partition('/')[0]} has ended")
