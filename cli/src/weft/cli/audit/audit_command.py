"""`weft audit ...`: lists and follows the audit, and checks the file of it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.process.loading import loading
from weft.cli.terminal.output import Styled, json_text, line, remark
from weft.cli.terminal.tables import print_rows

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.coordinator.audit.audit_event import Record

_HELP = with_examples(
    "Show who did what, where tokens are on or there is a file for it, and check that the file is whole.",
    "weft audit list --since 24 --action '*/RevokeToken'",
    "weft audit tail",
    "weft audit verify /var/log/weft/audit.jsonl",
)
app = typer.Typer(name="audit", help=_HELP, no_args_is_help=True, **SETTINGS)

_TIMEOUT_S = 30.0
_PAGE = 500
_MOST_SHOWN = 20


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
        from weft.coordinator.audit.audit_event import record_from
        from weft.v1 import audit_pb2
        from weft.v1.audit_pb2_grpc import AuditServiceStub

        stub = AuditServiceStub(mesh.channel())
        request = audit_pb2.ListAuditEventsRequest(page_size=_PAGE)
        request.since.FromDatetime(datetime.now(UTC) - timedelta(hours=since))
        found: list[Record] = []
        while True:
            page = await stub.ListAuditEvents(request, timeout=_TIMEOUT_S)
            found.extend(filter(chosen, map(record_from, page.events)))
            if not page.next_page_token:
                return found, page.faults
            request.page_token = page.next_page_token

    records, faults = _run(target, work)
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

    _run(target, work)


async def _followed(mesh: Mesh, since: float) -> AsyncIterator[Record]:
    from weft.coordinator.audit.audit_event import record_from
    from weft.v1 import audit_pb2
    from weft.v1.audit_pb2_grpc import AuditServiceStub

    request = audit_pb2.WatchAuditEventsRequest()
    request.since.FromDatetime(datetime.now(UTC) - timedelta(hours=since))
    async for response in AuditServiceStub(mesh.channel()).WatchAuditEvents(request):
        for event in response.events:
            yield record_from(event)


@app.command()
@examples("weft audit verify audit.jsonl", "weft audit verify audit.jsonl.1 audit.jsonl --expect 9f2c…")
def verify(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="The files of one audit, the oldest first; -: stdin."),
    ],
    expect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIGEST",
            help="An event with this digest, known from elsewhere, must be there; repeatable.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that an audit's file is whole: nothing changed or removed.

    Events that were cut off at the end leave no trace in the file itself: keep a later digest elsewhere, such as where OpenTelemetry sends the
    events, and --expect it. The exit status is 0 if the chain is whole, and 1 if it is not.
    """
    with loading():
        from weft.cli.terminal.failure import Failure, system_reason
        from weft.coordinator.audit.audit_check import ChainCheck

    check = ChainCheck()
    try:
        faults = list(check.faults(_lines(files), expect or ()))
    except OSError as error:
        raise Failure(f"cannot read {error.filename}: {system_reason(error)}", status=2) from None
    facts = {
        "events": check.events,
        "first_time": check.first_time,
        "last_time": check.last_time,
        "began_after": check.began_after,
        "last_digest": check.last_digest,
    }
    if as_json:
        line(json_text({"whole": not faults, **facts, "faults": [fault._asdict() for fault in faults]}))
    else:
        for fault in faults[:_MOST_SHOWN]:
            line((f"line {fault.line}: ", Styled(fault.what, "red")))
        if len(faults) > _MOST_SHOWN:
            line(f"… and {len(faults) - _MOST_SHOWN} more")
        verdict = Styled("not whole", "red") if faults else Styled("whole", "green")
        line((verdict, f": {check.events} events, {check.first_time} to {check.last_time}"))
        line(f"last digest: {check.last_digest}")
    if faults:
        raise typer.Exit(1)


def _lines(files: Sequence[Path]) -> Iterator[bytes]:
    from weft.coordinator.audit.audit_check import MAX_LINE_BYTES

    for path in files:
        if str(path) == "-":
            yield from iter(lambda: sys.stdin.buffer.readline(MAX_LINE_BYTES), b"")
            continue
        with path.open("rb") as file:
            yield from iter(lambda: file.readline(MAX_LINE_BYTES), b"")


def _chosen(who: str, action: str) -> Callable[[Record], bool]:
    from weft.rpc.identity.scope import fits

    return lambda record: fits(who, record["subject"]) and fits(action, record["action"])


def _run(target: str, work: Callable[[Mesh], Any]) -> Any:
    with loading():
        from weft.cli.process.command_runner import run

    return run(target, work)
