"""`weft tasks ...`: list, read, follow, cancel and retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli import inputs, moments, task_view
from weft.cli.examples import examples, with_examples
from weft.cli.failures import Failure
from weft.cli.lazy import SETTINGS
from weft.cli.options import DEFAULT_TARGET, Json, Target
from weft.cli.output import Words, json_text, line, remark
from weft.cli.steering import change_each, end
from weft.cli.tables import Column, print_pairs, print_rows
from weft.rpc import names

if TYPE_CHECKING:
    from weft.client import Mesh, Progress, Task
    from weft.client.contract import ResolvedMethod

_HELP = with_examples(
    "List, read, follow, cancel and retry tasks.",
    "weft tasks list --state RUNNING",
    "weft tasks get 19859be730a6f94a",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)

TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task.")]
TaskIds = Annotated[list[str], typer.Argument(metavar="ID...", help="The tasks.")]


@app.command("list")
@examples(
    "weft tasks list --state FAILED --method Greeter/Greet",
    "weft tasks list --limit 1000 --json",
)
def list_tasks(
    state: Annotated[
        list[str] | None, typer.Option(metavar="STATE", help="Only tasks in this state; repeatable.")
    ] = None,
    method: inputs.MethodFilter = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 50,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """List tasks, newest first."""
    from weft.cli.documents import task_document
    from weft.cli.running import run
    from weft.client import TaskState

    try:
        states = [TaskState[name.upper()] for name in state or ()]
    except KeyError as error:
        known = ", ".join(TaskState.__members__)
        raise Failure(f"there is no task state {error}; there are {known}", status=2) from None

    async def work(mesh: Mesh) -> list[Task]:
        of = await inputs.queue_method(mesh, method)
        # One more than is shown tells whether there are more.
        found = [task async for task in mesh.tasks.list(states=states, method=of, limit=limit + 1)]
        if not found:
            await inputs.check_there_is(mesh, of)
        return found

    found = run(target, work)
    if len(found) > limit:
        found = found[:limit]
        remark(f"the newest {limit} are shown, and there are more: --limit {10 * limit} shows more of them")
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


def _row(task: Task) -> list[Words]:
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
)
def get(
    task_id: TaskId,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also show the traceback of what the handler raised.")
    ] = False,
) -> None:
    """Show a task with its request and response, or with what its handler raised."""
    from weft.cli.documents import task_document
    from weft.cli.running import run

    async def work(mesh: Mesh) -> tuple[Task, ResolvedMethod | None]:
        task = await mesh.tasks.get(task_id)
        return task, await _resolved(mesh, task.method)

    task, method = run(target, work)
    document = task_document(task, method, full=True)
    if as_json:
        line(json_text(document))
        return
    print_pairs(task_view.facts(task, document, verbose=verbose))


async def _resolved(mesh: Mesh, name: str) -> ResolvedMethod | None:
    """The method, where its contract is still known: a task is shown without it too."""
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
    after: Annotated[int, typer.Option(metavar="N", min=0, help="Only responses after this one.")] = 0,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Follow a task until it has ended: its states and, of a streaming method, its responses.

    Exit status 1 when it did not succeed.
    """
    from weft.cli.running import run

    async def work(mesh: Mesh) -> bool:
        method = await _resolved(mesh, (await mesh.tasks.get(task_id)).method)
        succeeded = False
        async for event in mesh.tasks.watch(task_id, after):
            _print_event(event, method, as_json=as_json)
            succeeded = getattr(event, "succeeded", False)
        return succeeded

    if not run(target, work):
        raise typer.Exit(1)


def _print_event(event: Task | Progress, method: ResolvedMethod | None, *, as_json: bool) -> None:
    from weft.cli.documents import response_document, task_document
    from weft.client import Progress

    if isinstance(event, Progress):
        response = response_document(method, event.response)
        if as_json:
            line(json_text({"sequence": event.sequence, "attempt": event.attempt, "response": response}))
        else:
            line(f"#{event.sequence} {json_text(response)}")
        return
    if as_json:
        document = task_document(event)
        if event.succeeded and event.response:
            document["response"] = response_document(method, event.response)
        line(json_text(document))
        return
    place = f" on {event.agent_id}" if event.agent_id else ""
    error = event.error()
    words = f": {error.code.name}: {error.message}" if error is not None else ""
    line(f"{event.state.name} attempt {event.attempt}{place}{words}")
    if event.succeeded and event.response:
        line(json_text(response_document(method, event.response)))


@app.command()
@examples(
    'weft tasks cancel 19859be730a6f94a 19859be763206175 --reason "wrong input"',
)
def cancel(
    task_ids: TaskIds,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the handler's log.")] = "",
    grace_s: Annotated[
        float | None, typer.Option(metavar="S", min=0, help="A running handler gets so many seconds to end.")
    ] = None,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Ask for tasks' ends. One that is running ends when its handler has, or when the grace has passed."""
    from weft.cli.running import run

    async def work(mesh: Mesh) -> int:
        _, failed = await change_each(
            task_ids,
            lambda task_id: mesh.tasks.cancel(task_id, reason, grace_s=grace_s),
            _shown,
            as_json=as_json,
        )
        return failed

    end(run(target, work), len(task_ids))


@app.command()
@examples(
    "weft tasks retry 19859be730a6f94a 19859be763206175",
)
def retry(task_ids: TaskIds, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Queue failed or cancelled tasks again."""
    from weft.cli.running import run

    async def work(mesh: Mesh) -> int:
        _, failed = await change_each(task_ids, mesh.tasks.retry, _shown, as_json=as_json)
        return failed

    end(run(target, work), len(task_ids))


def _shown(task: Task) -> tuple[dict[str, Any], str]:
    from weft.cli.documents import task_document

    asked = ", asked to end" if task.cancel_requested and not task.ended else ""
    return task_document(task), f"{task.id} {task.state.name}{asked}"
