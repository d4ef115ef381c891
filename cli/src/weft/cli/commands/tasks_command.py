"""`weft tasks ...`: list, show, watch, cancel and retry tasks, and show their logs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line import completion, inputs
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, ShowSecrets, Target
from weft.cli.commands.signal_command import signal
from weft.cli.rendering import task_view
from weft.cli.steering import task_filters as filters
from weft.cli.steering.task_steering import Steering
from weft.cli.terminal import moments
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import StyledText, json_text, line, remark
from weft.cli.terminal.tables import Column, print_pairs, print_rows
from weft.rpc.contracts import names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from weft.cli.steering.id_changes import ChangeCounts
    from weft.cli.terminal.payload_view import PayloadView
    from weft.client import Mesh, Progress, Task
    from weft.client.task_steps import RecordedStep
    from weft.rpc.contracts.contract_reader import ResolvedMethod

_HELP = with_examples(
    "List, show, watch, signal, cancel and retry tasks, and show their logs.",
    "weft tasks list --state RUNNING",
    "weft tasks get 19859be730a6f94a",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)

TaskId = Annotated[
    str, typer.Argument(metavar="ID", help="Id of the task.", autocompletion=completion.task_ids)
]
TaskIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Ids of tasks; or give a filter.", autocompletion=completion.task_ids),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="With a filter: do not ask first.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="With a filter: only show the tasks that match.")]


@app.command("list")
@examples(
    "weft tasks list --state FAILED --method Greeter/Greet",
    "weft tasks list --since 1h --agent worker-1 --error UNAVAILABLE",
    "weft tasks list --limit 1000 --json",
)
def list_tasks(
    state: filters.States = None,
    method: inputs.MethodFilter = "",
    since: filters.Since = "",
    until: filters.Until = "",
    agent_id: filters.AgentId = "",
    request_id: filters.RequestId = "",
    group: filters.GroupName = "",
    error: filters.ErrorText = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="List at most so many tasks.")] = 50,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """List tasks, newest first."""
    from weft.cli.process.command_runner import run
    from weft.cli.rendering.documents import task_document

    where = filters.FilterOptions(
        state or (), method, since, until, agent_id, request_id, error, group
    ).checked()

    async def work(mesh: Mesh) -> list[Task]:
        # One more task than shown tells whether there are more.
        return [task async for task in where.tasks(mesh, limit + 1)]

    found = run(target, work)
    if len(found) > limit:
        found = found[:limit]
        remark(f"only the newest {limit} tasks are shown: --limit {10 * limit} shows more")
    if as_json:
        line(json_text([task_document(task) for task in found]))
        return
    columns = (
        Column("task"),
        Column("method"),
        Column("state"),
        Column("try", right=True, spare=2),
        Column("agent", spare=1),
        Column("age", right=True),
        Column("took", right=True, spare=3),
        Column("error", below=True, cut=True),
    )
    print_rows(columns, [_row(task) for task in found], "no tasks")


def _row(task: Task) -> list[StyledText]:
    return [
        task.id,
        names.short(task.method),
        task_view.styled_state(task),
        str(task.attempt),
        task.agent_id,
        moments.since(task.created_at),
        moments.between(task.started_at, task.finished_at),
        task_view.error_text(task),
    ]


@app.command()
@examples(
    "weft tasks get 19859be730a6f94a",
    "weft tasks get 19859be730a6f94a --verbose",
    "weft tasks get 19859be730a6f94a --timeline",
)
def get(
    task_id: TaskId,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
    show_secrets: ShowSecrets = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show the traceback of the handler's exception.")
    ] = False,
    as_timeline: Annotated[
        bool,
        typer.Option(
            "--timeline", help="Draw its waits, its attempts, and the tasks that its handler submitted."
        ),
    ] = False,
) -> None:
    """Show a task with its request, and its response or exception."""
    from weft.cli.process.command_runner import run
    from weft.cli.rendering.documents import task_document
    from weft.cli.rendering.step_view import step_document, step_lines, steps_of
    from weft.cli.terminal.payload_view import PayloadView

    if as_timeline:
        from weft.cli.rendering.timeline_of import show_timeline

        show_timeline(task_id, target, as_json=as_json)
        return

    async def work(mesh: Mesh) -> tuple[Task, ResolvedMethod | None, list[RecordedStep]]:
        task = await mesh.tasks.get(task_id)
        return task, await _resolved(mesh, task.method), await steps_of(mesh, task_id)

    task, method, steps = run(target, work)
    document = task_document(task, PayloadView(method, show_secrets=show_secrets), full=True)
    if steps:
        document["steps"] = [step_document(step) for step in steps]
    if as_json:
        line(json_text(document))
        return
    print_pairs(task_view.facts(task, document, verbose=verbose, steps=step_lines(steps)))


async def _resolved(mesh: Mesh, name: str) -> ResolvedMethod | None:
    """The method, or None if its contract is not known any more: the task is shown without it."""
    try:
        return await inputs.resolve(mesh, name)
    except Failure:
        return None


@app.command()
@examples(
    "weft tasks watch 19859be730a6f94a",
    "weft tasks watch 19859be730a6f94a --after 20 --json",
)
def watch(
    task_id: TaskId,
    after: Annotated[int, typer.Option(metavar="N", min=0, help="Only responses after this number.")] = 0,
    target: Target = DEFAULT_TARGET,
    show_secrets: ShowSecrets = False,
    as_json: Json = False,
) -> None:
    """Watch a task until it ends. Its states are printed and, for a streaming method, its responses.

    Exit status 1 if it did not succeed.
    """
    from weft.cli.process.command_runner import run
    from weft.cli.terminal.payload_view import PayloadView

    async def work(mesh: Mesh) -> bool:
        method = await _resolved(mesh, (await mesh.tasks.get(task_id)).method)
        view = PayloadView(method, show_secrets=show_secrets)
        succeeded = False
        async for event in mesh.tasks.watch(task_id, after):
            _print_event(event, view, as_json=as_json)
            succeeded = getattr(event, "succeeded", False)
        return succeeded

    if not run(target, work):
        raise typer.Exit(1)


def _print_event(event: Task | Progress, view: PayloadView, *, as_json: bool) -> None:
    from weft.cli.rendering.documents import task_document
    from weft.client import Progress

    if isinstance(event, Progress):
        response = view.response(event.response)
        if as_json:
            line(json_text({"sequence": event.sequence, "attempt": event.attempt, "response": response}))
        else:
            line(f"#{event.sequence} {json_text(response)}")
        return
    if as_json:
        document = task_document(event, view)
        if event.succeeded and event.response:
            document["response"] = view.response(event.response)
        line(json_text(document))
        return
    place = f" on {event.agent_id}" if event.agent_id else ""
    error = event.error()
    words = f": {error.code.name}: {error.message}" if error is not None else ""
    line(f"{event.state.name} attempt {event.attempt}{place}{words}")
    if event.succeeded and event.response:
        line(json_text(view.response(event.response)))


@app.command()
@examples(
    "weft tasks logs 19859be730a6f94a",
    "weft tasks logs 19859be730a6f94a --follow",
)
def logs(
    task_id: TaskId,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Go on with lines as they are logged, until the task has ended."),
    ] = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Show what the task's handlers have logged.

    The lines come attempt by attempt, as far as the agents keep them. What is missing is said on standard error. Exit status 1 if lines are missing and none is there.
    """
    from weft.cli.process.command_runner import run
    from weft.cli.rendering.log_view import LogPrinter

    async def work(mesh: Mesh) -> LogPrinter:
        printer = LogPrinter(as_json=as_json)
        async for each in mesh.tasks.logs(task_id, follow=follow):
            printer.take(each)
        return printer

    printer = run(target, work)
    if printer.missing and not printer.lines:
        raise typer.Exit(1)


@app.command()
@examples(
    'weft tasks cancel 19859be730a6f94a 19859be763206175 --reason "wrong input"',
    "weft tasks cancel --state QUEUED --method Greeter/Greet --dry-run",
)
def cancel(
    task_ids: TaskIds = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, for the handler and the task's record.")
    ] = "",
    grace_s: Annotated[
        float | None, typer.Option(metavar="S", min=0, help="Seconds that a running handler gets to end.")
    ] = None,
    state: filters.States = None,
    method: inputs.MethodFilter = "",
    since: filters.Since = "",
    until: filters.Until = "",
    agent_id: filters.AgentId = "",
    request_id: filters.RequestId = "",
    group: filters.GroupName = "",
    error: filters.ErrorText = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Cancel tasks, by their ids or by a filter. A running task ends when its handler has ended, or when the grace has passed.

    With a filter, the command shows a summary of the unfinished tasks that match, and asks before it cancels them.
    """
    from weft.client import TaskState

    given = filters.FilterOptions(state or (), method, since, until, agent_id, request_id, error, group)
    unfinished = [each for each in TaskState if not each.ended]
    _steer(
        given,
        task_ids or [],
        lambda mesh: lambda task_id: mesh.tasks.cancel(task_id, reason, grace_s=grace_s),
        Steering("cancel", unfinished, unfinished, yes=yes, dry_run=dry_run, as_json=as_json),
        target,
    )


@app.command()
@examples(
    "weft tasks retry 19859be730a6f94a 19859be763206175",
    "weft tasks retry --method Greeter/Greet --since 1h --error UNAVAILABLE",
)
def retry(
    task_ids: TaskIds = None,
    state: filters.States = None,
    method: inputs.MethodFilter = "",
    since: filters.Since = "",
    until: filters.Until = "",
    agent_id: filters.AgentId = "",
    request_id: filters.RequestId = "",
    group: filters.GroupName = "",
    error: filters.ErrorText = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Queue failed or cancelled tasks again, by their ids or by a filter.

    With a filter, the command shows a summary of the tasks that match, and asks before it retries them. Without --state, only
    FAILED tasks match.
    """
    from weft.client import TaskState

    given = filters.FilterOptions(state or (), method, since, until, agent_id, request_id, error, group)
    steering = Steering(
        "retry",
        (TaskState.FAILED, TaskState.CANCELLED),
        (TaskState.FAILED,),
        yes=yes,
        dry_run=dry_run,
        as_json=as_json,
    )
    _steer(given, task_ids or [], lambda mesh: mesh.tasks.retry, steering, target)


def _steer(
    options: filters.FilterOptions,
    task_ids: Sequence[str],
    change: Callable[[Mesh], Callable[[str], Awaitable[Task]]],
    steering: Steering,
    target: str,
) -> None:
    """Change the tasks with these ids, or the tasks that the filter finds.

    Raises:
        Failure: both or neither was given, or no task in the filter's states can be changed.
    """
    from weft.cli.process.command_runner import run

    if bool(task_ids) == options.any:
        raise Failure(
            f"say which tasks to {steering.verb}: either ids, or a filter such as --method and --since",
            status=2,
        )
    if task_ids and steering.dry_run:
        raise Failure("--dry-run needs a filter: `weft tasks get ID` shows one task", status=2)
    task_filter = options.checked()
    if not task_filter.states:
        task_filter = dataclasses.replace(task_filter, states=steering.default_states)
    if hopeless := [each.name for each in task_filter.states if each not in steering.states]:
        raise Failure(f"cannot {steering.verb} a task that is {' or '.join(hopeless)}", status=2)

    async def work(mesh: Mesh) -> ChangeCounts:
        if task_ids:
            return await steering.change_ids(task_ids, change(mesh))
        return await steering.change_found(mesh, task_filter, change(mesh))

    if run(target, work).failed:
        raise typer.Exit(1)


app.command()(signal)
