"""`weft export` and `weft import`: the state of a mesh to a file, and from a file into a mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal.output import json_text, line, remark
from weft.cli.terminal.progress_line import ProgressState, progress_line
from weft.cli.terminal.tables import Column, print_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from weft.cli.state.state_file import NewerRecords, StateFile
    from weft.client import Mesh
    from weft.v1 import state_pb2

KINDS = (
    *("contract", "method", "agent", "schedule", "pool", "budget"),
    *("keyed_state", "hook", "step", "task", "event", "subscription"),
)
# Of one message of an import.
_BATCH_RECORDS, _BATCH_BYTES = 256, 1024 * 1024
_EXPORTED = (Column("kind"), Column("records", right=True))
_IMPORTED = (
    Column("kind"),
    Column("imported", right=True),
    Column("were there", right=True),
    Column("refused", right=True),
)

File = Annotated[str, typer.Argument(metavar="FILE", help="One JSON record a line; - is standard output.")]
Source = Annotated[str, typer.Argument(metavar="FILE", help="A file of weft export; - is standard input.")]


@examples(
    "weft export mesh.jsonl",
    "weft export mesh.jsonl --running --events",
    "weft export - --kind schedule",
)
def export_state(
    file: File,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="KIND", help=f"Only this kind: {', '.join(KINDS)}; repeatable."),
    ] = None,
    running: Annotated[
        bool,
        typer.Option("--running", help="Export running tasks, too: where they are imported they run anew."),
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Export kept events, too: subscriptions go on where they were.")
    ] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Write the state of a mesh to a new file: contracts, limits, pauses, schedules, pools, budgets, subscriptions, hooks, keyed states, queued and failed tasks.

    The file has the tasks' payloads and the pools' variables, and is for this user alone. Secrets of hooks stay behind. Pause the methods or stop the agents first: an export is no snapshot.
    """
    from weft.cli.process.command_runner import run
    from weft.cli.state.state_file import STDIO, StateFile

    wanted = [_kind(name) for name in kinds or ()]
    if events and kinds:
        wanted.append(_kind("event"))
    out = StateFile(file)
    try:
        end = run(target, lambda mesh: _export(mesh, out, wanted, running=running, events=events))
        out.finish()
    finally:
        out.drop()
    if file == STDIO:
        return
    if as_json:
        line(json_text({_name(each.kind): each.records for each in end.counts}))
    else:
        rows = [(_name(each.kind), str(each.records)) for each in end.counts]
        print_rows(_EXPORTED, rows, "there is nothing to export")
    if end.running_left_out:
        remark(
            f"{end.running_left_out} running tasks were left out: export when they have ended, or add --running"
        )
    if end.events_left_out:
        remark(
            f"{end.events_left_out} events that subscriptions have not given yet were left out: export when they have, or add --events"
        )


@examples(
    "weft import mesh.jsonl",
    "weft import mesh.jsonl --dry-run",
    "weft import - --target other:7700",
)
def import_state(
    file: Source,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only read the file, and say what it has.")
    ] = False,
    skip_unknown: Annotated[
        bool,
        typer.Option(
            "--skip-unknown", help="Leave out records, and fields of records, that only a newer weft knows."
        ),
    ] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Take the state of another mesh into this one. What is there already stays as it is; repeat it if it was broken off.

    Tasks get new ids, and keep their request ids; one without is found by `--request-id import:ID`, with its id of before.
    """
    from weft.cli.state.state_file import NewerRecords, check_kinds, records_of

    unknown = NewerRecords(skip=skip_unknown or dry_run)
    if dry_run:
        _tell_contents(records_of(file, unknown), as_json=as_json)
        _tell_unknown(unknown)
        return
    from weft.cli.process.command_runner import run

    if not skip_unknown:
        check_kinds(file)
    records = records_of(file, unknown)
    # A file that cannot be read is told before a coordinator that cannot be reached.
    first = next(records, None)
    answer = run(target, lambda mesh: _import(mesh, first, records))
    if as_json:
        line(json_text(_document(answer)))
    else:
        rows = [
            (_name(each.kind), str(each.records), str(each.existed), str(each.refused))
            for each in answer.counts
        ]
        print_rows(_IMPORTED, rows, "the file has no records to import")
        for problem in answer.problems:
            remark(f"{_name(problem.kind)} {problem.name}: {problem.reason}")
    _tell_unknown(unknown)
    if any(each.refused for each in answer.counts):
        raise typer.Exit(1)


def _tell_unknown(unknown: NewerRecords) -> None:
    for kind, count in sorted(unknown.kinds.items()):
        remark(f"{count} records left out that this version of weft does not know: {kind}")
    if unknown.partly:
        remark(
            f"{unknown.partly} records have fields that this version of weft does not know: they are left out"
        )


def _kind(name: str) -> int:
    from weft.v1 import state_pb2

    if name not in KINDS:
        raise typer.BadParameter(
            f"{name[:40]!r} is no kind; there are {', '.join(KINDS)}", param_hint="--kind"
        )
    return state_pb2.StateKind.Value(f"STATE_KIND_{name.upper()}")


def _name(kind: int) -> str:
    from weft.rpc.enum_names import enum_name
    from weft.v1 import state_pb2

    if kind == state_pb2.STATE_KIND_UNSPECIFIED:
        return "unknown"
    return enum_name(state_pb2.StateKind, kind, "STATE_KIND_").lower()


async def _export(
    mesh: Mesh, out: StateFile, kinds: Iterable[int], *, running: bool, events: bool
) -> state_pb2.StateEnd:
    from weft.cli.terminal.failure import Failure
    from weft.v1 import state_pb2
    from weft.v1.state_pb2_grpc import StateServiceStub

    request = state_pb2.ExportStateRequest(kinds=kinds, running=running, events=events)  # type: ignore[arg-type]
    written = 0
    end: state_pb2.StateEnd | None = None
    async with progress_line(lambda: ProgressState(written, None, ("records",))):
        responses: Any = StateServiceStub(mesh.channel()).ExportState(request)
        async for response in responses:
            for record in response.records:
                out.add(record)
                written += 1
                end = record.end if record.HasField("end") else None
    if end is None:
        raise Failure("the export ended early: export again")
    return end


async def _import(
    mesh: Mesh, first: state_pb2.StateRecord | None, records: Iterator[state_pb2.StateRecord]
) -> state_pb2.ImportStateResponse:
    from weft.cli.terminal.failure import Failure
    from weft.v1.state_pb2_grpc import StateServiceStub

    sent = 0
    broken: Failure | None = None

    def count(records: int) -> None:
        nonlocal sent
        sent += records

    async def requests() -> AsyncIterator[state_pb2.ImportStateRequest]:
        nonlocal broken
        try:
            async for each in _requests(first, records, count):
                yield each
        except Failure as error:
            broken = error
            raise

    async with progress_line(lambda: ProgressState(sent, None, ("records",))):
        stub: Any = StateServiceStub(mesh.channel())
        call = stub.ImportState(requests())
        try:
            answer: state_pb2.ImportStateResponse = await call
        except BaseException:
            call.cancel()
            if broken is not None:
                raise Failure(
                    str(broken),
                    "Records before it may be imported: import the right file, and what is there already stays as it is",
                    status=2,
                ) from None
            raise
    return answer


async def _requests(
    first: state_pb2.StateRecord | None,
    records: Iterator[state_pb2.StateRecord],
    count: Callable[[int], None],
) -> AsyncIterator[state_pb2.ImportStateRequest]:
    from weft.v1 import state_pb2

    batch = [] if first is None else [first]
    size_bytes = 0
    for record in records:
        batch.append(record)
        size_bytes += record.ByteSize()
        if len(batch) >= _BATCH_RECORDS or size_bytes >= _BATCH_BYTES:
            yield state_pb2.ImportStateRequest(records=batch)
            count(len(batch))
            batch, size_bytes = [], 0
    yield state_pb2.ImportStateRequest(records=batch)
    count(len(batch))


def _tell_contents(records: Iterable[state_pb2.StateRecord], *, as_json: bool) -> None:
    found = dict.fromkeys(KINDS, 0)
    for record in records:
        kind = record.WhichOneof("record") or ""
        if kind in found:
            found[kind] += 1
    if as_json:
        line(json_text(found))
    else:
        rows = [(kind, str(count)) for kind, count in found.items() if count]
        print_rows(_EXPORTED, rows, "the file has no records to import")


def _document(answer: state_pb2.ImportStateResponse) -> dict[str, Any]:
    return {
        "counts": {
            _name(each.kind): {
                "imported": each.records,
                "existed": each.existed,
                "refused": each.refused,
            }
            for each in answer.counts
        },
        "problems": [
            {"kind": _name(each.kind), "name": each.name, "reason": each.reason} for each in answer.problems
        ],
    }
