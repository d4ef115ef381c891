"""`weft audit verify`: checks that the audit is whole, in files or in the store."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.audit.audit_listing import listed, running
from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.process.loading import loading
from weft.cli.terminal.output import Styled, json_text, line

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.coordinator.audit.audit_check import ChainCheck, ChainFault
    from weft.coordinator.audit.audit_event import Record

_MOST_SHOWN = 20


@examples(
    "weft audit verify audit.jsonl",
    "weft audit verify audit.jsonl.1 audit.jsonl --expect 9f2c…",
    "weft audit verify --target coordinator.example:7700",
)
def verify(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE...]", help="The files of one audit, the oldest first; -: stdin."),
    ] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIGEST",
            help="An event with this digest, known from elsewhere, must be there; repeatable.",
        ),
    ] = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Check that the audit is whole: nothing changed or removed. Without files, the one in the store: each coordinator's chain by itself.

    Events that were cut off at the end leave no trace in the chain itself: keep a later digest elsewhere, such as where OpenTelemetry sends the
    events, and --expect it. The exit status is 0 if the audit is whole, and 1 if it is not.
    """
    chains = [("", _in_files(files))] if files else _in_store(target)
    with loading():
        from weft.cli.terminal.failure import Failure, system_reason
        from weft.coordinator.audit.audit_check import ChainCheck

    missing, documents, whole = set(expect or ()), list[Any](), True
    for name, lines in chains:
        check = ChainCheck(missing)
        try:
            faults = list(check.faults(lines))
        except OSError as error:
            raise Failure(f"cannot read {error.filename}: {system_reason(error)}", status=2) from None
        missing, whole = check.missing, whole and not faults
        documents.append(_document(name, check, faults))
        if not as_json:
            _show(name, check, faults)
    if as_json:
        line(json_text({"whole": whole and not missing, "chains": documents, "missing": sorted(missing)}))
    else:
        for digest in sorted(missing):
            line(Styled(f"the event with the digest {digest} is missing", "red"))
    if missing or not whole:
        raise typer.Exit(1)


def _in_files(files: Sequence[Path]) -> Iterator[bytes]:
    from weft.coordinator.audit.audit_check import MAX_LINE_BYTES

    for path in files:
        if str(path) == "-":
            yield from iter(lambda: sys.stdin.buffer.readline(MAX_LINE_BYTES), b"")
            continue
        with path.open("rb") as file:
            yield from iter(lambda: file.readline(MAX_LINE_BYTES), b"")


def _in_store(target: str) -> list[tuple[str, Iterable[bytes]]]:
    """Each chain in the store, by its name, in its order: clocks may step back."""

    async def work(mesh: Mesh) -> list[Record]:
        records, _ = await listed(mesh)
        return sorted(records, key=lambda each: (each["chain"], each["sequence"]))

    records = running(target, work)
    with loading():
        from weft.coordinator.audit.audit_event import line_of
    chains = itertools.groupby(records, key=lambda each: each["chain"])
    return [(name, list(map(line_of, chain))) for name, chain in chains]


def _document(name: str, check: ChainCheck, faults: Sequence[ChainFault]) -> dict[str, Any]:
    return {
        "chain": name,
        "whole": not faults,
        "events": check.events,
        "first_time": check.first_time,
        "last_time": check.last_time,
        "began_after": check.began_after,
        "last_digest": check.last_digest,
        "faults": [fault._asdict() for fault in faults],
    }


def _show(name: str, check: ChainCheck, faults: Sequence[ChainFault]) -> None:
    of = f"{name}, " if name else ""
    for fault in faults[:_MOST_SHOWN]:
        line((f"{of}{'event' if name else 'line'} {fault.line}: ", Styled(fault.what, "red")))
    if len(faults) > _MOST_SHOWN:
        line(f"… and {len(faults) - _MOST_SHOWN} more")
    verdict = Styled("not whole", "red") if faults else Styled("whole", "green")
    line((of, verdict, f": {check.events} events, {check.first_time} to {check.last_time}"))
    line(f"last digest: {check.last_digest}")
