"""`weft schedules ...`: tasks that the mesh submits by itself."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from weft.cli.command_line import completion, inputs
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, ShowSecrets, Target
from weft.cli.command_line.task_options import NO_TASK_OPTIONS, TaskOptions, with_task_options
from weft.cli.steering.id_changes import change_names
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import json_text, line
from weft.cli.terminal.tables import print_pairs, print_rows

if TYPE_CHECKING:
    from weft.client import Mesh, Schedule, ScheduleOptions
    from weft.client.schedules import Timing

_HELP = with_examples(
    "Create, list, show, pause, resume, run and delete schedules: tasks that the mesh submits by itself.",
    "weft schedules create nightly Reports/Build '{\"kind\": \"daily\"}' --cron '30 2 * * *' --zone Europe/Berlin",
    "weft schedules list",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The schedule's name.", autocompletion=completion.schedules)
]
Names = Annotated[
    list[str],
    typer.Argument(metavar="NAME", help="Names of schedules.", autocompletion=completion.schedules),
]
_POLICIES = ("skip", "queue", "cancel", "allow")


@app.command()
@examples(
    "weft schedules create nightly Reports/Build '{\"kind\": \"daily\"}' --cron '30 2 * * *' --zone Europe/Berlin",
    "weft schedules create pulse Reports/Probe --every-s 30 --overlap allow --jitter-s 5",
    "weft schedules create party Reports/Build @request.json --at 2030-12-31T23:00:00+01:00",
)
@with_task_options
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="1 to 128 letters, digits, '.', '_', '-' and '/'.")
    ],
    method: inputs.MethodName,
    request: inputs.JsonInput = "",
    cron: Annotated[
        str,
        typer.Option(
            metavar="EXPR",
            help="Minute, hour, day of the month, month, day of the week; with six fields the second first.",
        ),
    ] = "",
    zone: Annotated[
        str,
        typer.Option(metavar="ZONE", help="The time zone of --cron, such as Europe/Berlin. [default: UTC]"),
    ] = "",
    every_s: Annotated[
        float | None, typer.Option("--every-s", metavar="S", help="A tick every so many seconds, at least 1.")
    ] = None,
    at: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Once, at this time: 2030-12-31T23:00+01:00; without a zone, local."
        ),
    ] = "",
    overlap: Annotated[
        str,
        typer.Option(
            metavar="|".join(_POLICIES),
            help="What happens to a tick while an earlier task has not ended. [default: skip]",
        ),
    ] = "",
    jitter_s: Annotated[
        float | None,
        typer.Option("--jitter-s", metavar="S", min=0, help="Submit each tick up to so much later."),
    ] = None,
    catch_up_s: Annotated[
        float | None,
        typer.Option(
            "--catch-up-s", metavar="S", min=0, help="How late a tick may be submitted. [default: 3600]"
        ),
    ] = None,
    start: Annotated[str, typer.Option(metavar="TIME", help="No tick before this time.")] = "",
    end: Annotated[str, typer.Option(metavar="TIME", help="No tick at this time or later.")] = "",
    paused: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Create it paused, for this reason; not with --replace."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="If there is a schedule of this name, replace its spec.")
    ] = False,
    tasks: TaskOptions = NO_TASK_OPTIONS,
    limit_s: inputs.LimitS = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Create a schedule. Each of its ticks is submitted as one task.

    The same command again is harmless. Exit status 1 if there is another schedule of this name, without --replace.
    """
    from weft.cli.process.command_runner import run

    if replace and paused is not None:
        raise Failure(
            "--paused is for a new schedule, not with --replace: `weft schedules pause` pauses one that there is",
            status=2,
        )
    timing = _timing(cron, zone, every_s, at)
    # Those of tasks are among those of schedules.
    options = cast("ScheduleOptions", tasks.submit_options(limit_s))
    if overlap:
        options["overlap"] = _policy(overlap)
    if jitter_s is not None:
        options["jitter_s"] = jitter_s
    if catch_up_s is not None:
        options["catch_up_window_s"] = catch_up_s
    if start:
        options["start_at"] = _moment("--start", start)
    if end:
        options["end_at"] = _moment("--end", end)
    text = inputs.read_text(request)

    async def work(mesh: Mesh) -> Schedule:
        resolved = await inputs.resolve(mesh, method)
        payload = inputs.request_bytes(resolved, text)
        if replace:
            from weft.client import NotFound

            try:
                return await mesh.schedules.update(name, resolved.name, payload, timing, **options)
            except NotFound:
                pass
        return await mesh.schedules.create(
            name, resolved.name, payload, timing, pause_reason=paused, **options
        )

    _print_changed(run(target, work), as_json=as_json)


def _timing(cron: str, zone: str, every_s: float | None, at: str) -> Timing:
    from weft.client import Cron, Every, Once

    if sum((bool(cron), every_s is not None, bool(at))) != 1:
        raise Failure("say when: one of --cron, --every-s and --at", status=2)
    if zone and not cron:
        raise Failure("--zone is for --cron alone", status=2)
    if cron:
        return Cron(cron, zone)
    return Every(every_s) if every_s is not None else Once(_moment("--at", at))


def _moment(option: str, text: str) -> datetime:
    try:
        # A time without a zone is local time.
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise Failure(
            f"{option} is {text!r}; it must be a time, such as 2030-12-31T23:00 or 2030-12-31T23:00+01:00",
            status=2,
        ) from None


def _policy(text: str) -> Any:
    from weft.client import OverlapPolicy

    if text.lower() not in _POLICIES:
        raise Failure(
            f"there is no overlap policy {text!r}; the policies are {', '.join(_POLICIES)}", status=2
        )
    return OverlapPolicy[text.upper()]


@app.command("list")
@examples("weft schedules list", "weft schedules list --json")
def list_schedules(target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """List all schedules.

    A row says when ticks come, when the next one does, and what became of the last one.
    """
    from weft.cli.process.command_runner import run
    from weft.cli.rendering import schedule_view

    async def work(mesh: Mesh) -> list[Schedule]:
        return [schedule async for schedule in mesh.schedules.list()]

    found = run(target, work)
    if as_json:
        line(json_text([schedule_view.schedule_document(schedule) for schedule in found]))
    else:
        print_rows(schedule_view.COLUMNS, [schedule_view.row(schedule) for schedule in found], "no schedules")


@app.command()
@examples("weft schedules show nightly", "weft schedules show nightly --json")
def show(
    name: Name, target: Target = DEFAULT_TARGET, show_secrets: ShowSecrets = False, as_json: Json = False
) -> None:
    """Show a schedule.

    Its spec, request and options, the next tick, and the last ten ticks with their tasks.
    """
    from weft.cli.process.command_runner import run
    from weft.cli.rendering import schedule_view
    from weft.cli.terminal.payload_view import PayloadView

    async def work(mesh: Mesh) -> tuple[Schedule, dict[str, Any]]:
        from weft.client import WeftError

        schedule = await mesh.schedules.get(name)
        try:
            method = await inputs.resolve(mesh, schedule.method)
        except (Failure, WeftError):
            # No contract has it any more.
            method = None
        view = PayloadView(method, show_secrets=show_secrets)
        return schedule, schedule_view.schedule_document(schedule, view, full=True)

    schedule, document = run(target, work)
    if as_json:
        line(json_text(document))
    else:
        print_pairs(schedule_view.facts(schedule, document))


@app.command()
@examples("weft schedules pause nightly --reason 'the warehouse moves'")
def pause(
    names: Names,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever lists schedules.")] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Pause schedules: they have no ticks until they are resumed."""
    change_names(
        names, lambda mesh, name: mesh.schedules.pause(name, reason), _shown, target, as_json=as_json
    )


@app.command()
@examples("weft schedules resume nightly")
def resume(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Resume schedules. Ticks that passed meanwhile are left out."""
    change_names(names, lambda mesh, name: mesh.schedules.resume(name), _shown, target, as_json=as_json)


@app.command()
@examples("weft schedules delete nightly pulse")
def delete(names: Names, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Delete schedules. Their tasks stay."""

    async def deleted(mesh: Mesh, name: str) -> str:
        await mesh.schedules.delete(name)
        return name

    change_names(
        names,
        deleted,
        lambda name: ({"name": name, "deleted": True}, f"{name} deleted"),
        target,
        as_json=as_json,
    )


@app.command("run")
@examples("weft schedules run nightly", "weft schedules run nightly --request-id fix-42")
def run_now(
    name: Name,
    request_id: Annotated[
        str | None, typer.Option(metavar="ID", help="Runs of a schedule with the same id are one task.")
    ] = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Submit a schedule's task now, and print its id. The ticks do not change."""
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> tuple[str, bool]:
        handle = await mesh.schedules.run(name, request_id=request_id)
        return handle.id, handle.existed

    task_id, existed = run(target, work)
    line(json_text({"task_id": task_id, "existed": existed}) if as_json else task_id)


def _shown(schedule: Schedule) -> tuple[dict[str, Any], str]:
    from weft.cli.rendering.schedule_view import schedule_document

    if schedule.paused:
        words = "paused"
    elif schedule.next_at is None:
        words = "has no more ticks"
    else:
        words = f"next tick {schedule.next_at.astimezone():%Y-%m-%d %H:%M:%S %z}"
    return schedule_document(schedule), f"{schedule.name} {words}"


def _print_changed(schedule: Schedule, *, as_json: bool) -> None:
    document, text = _shown(schedule)
    line(json_text(document) if as_json else text)
