"""`weft audit ...`: lists and follows the audit, and checks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.audit.audit_listing import running
from weft.cli.audit.audit_verify import verify
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal.output import json_text, line, remark
from weft.cli.terminal.tables import print_rows

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.coordinator.audit.audit_event import Record

_HELP = with_examples(
    "Show who did what, where tokens are on or there is a file for it, and check that nobody has changed it.",
    "weft audit list --since 24 --action '*/RevokeToken'",
    "weft audit tail",
    "weft audit verify",
    "weft audit verify /var/log/weft/audit.jsonl",
)
app = typer.Typer(name="audit", help=_HELP, no_args_is_help=True, **SETTINGS)


def _pattern(text: str) -> Any:
    return typer.Option(metavar="PATTERN", help=f"{text}; '*' stands for any characters.")


Since = Annotated[float, typer.Option(metavar="HOURS", min=0, help="Events of the last so many hours.")]
Who = Annotated[str, _pattern("Only events of these callers, such as token:shop")]
What = Annotated[str, _pattern("Only these actions, such as weft.v1.TokenService/*")]


@app.command("list")
@examples(
    "weft audit list",
    "weft audit list --since 24 --who 'token:*' --action '*/UpdateQueue'",
    "weft audit list --json",
)
def list_events(
    since: Since = 1.0,
    who: Who = "*",
    action: What = "*",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """List the events of all coordinators, oldest first.

    With --json, each is a line as in the file of the audit.
    """
    chosen = _chosen(who, action)

    async def work(mesh: Mesh) -> tuple[list[Record], Sequence[str]]:
        from weft.cli.audit.audit_listing import listed

        records, faults = await listed(mesh, datetime.now(UTC) - timedelta(hours=since))
        return list(filter(chosen, records)), faults

    records, faults = running(target, work)
    if as_json:
        for record in records:
            line(json_text(record))
    else:
        from weft.cli.audit import audit_view

        print_rows(audit_view.COLUMNS, [audit_view.row(record) for record in records], "no events")
    for fault in faults:
        remark(f"the audit is not written: {fault}")


@app.command()
@examples("weft audit tail", "weft audit tail --since 1 --who 'jwt:corp:*'", "weft audit tail --json")
def tail(
    since: Since = 0.0,
    who: Who = "*",
    action: What = "*",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Follow the events of all coordinators as they come, until Ctrl-C."""
    chosen = _chosen(who, action)

    async def work(mesh: Mesh) -> None:
        from weft.cli.audit import audit_view

        async for record in _followed(mesh, since):
            if chosen(record):
                line(json_text(record) if as_json else audit_view.text(record))

    running(target, work)


async def _followed(mesh: Mesh, since: float) -> AsyncIterator[Record]:
    from weft.coordinator.audit.audit_event import record_from
    from weft.v1 import audit_pb2
    from weft.v1.audit_pb2_grpc import AuditServiceStub

    request = audit_pb2.WatchAuditEventsRequest()
    request.since.FromDatetime(datetime.now(UTC) - timedelta(hours=since))
    async for response in AuditServiceStub(mesh.channel()).WatchAuditEvents(request):
        for event in response.events:
            yield record_from(event)


app.command("verify")(verify)


def _chosen(who: str, action: str) -> Callable[[Record], bool]:
    from weft.rpc.identity.scope import fits

    return lambda record: fits(who, record["subject"]) and fits(action, record["action"])
