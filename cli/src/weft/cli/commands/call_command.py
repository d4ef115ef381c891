"""`weft call`: one call with JSON in and out, durable or direct; or the choice of the agent explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line import inputs
from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, ShowSecrets, Target
from weft.cli.command_line.task_options import NO_TASK_OPTIONS, TaskOptions, with_task_options
from weft.cli.terminal.failure import Failure

if TYPE_CHECKING:
    from weft.client import Mesh, SubmitOptions

DEFAULT_TIMEOUT_S = 60.0
# Options that a task for each agent cannot have, or always has.
_NOT_FOR_ALL = frozenset({"--agent", "--detach", "--request-id", "--no-wait"})


def _checked_policy(name: str | None) -> str | None:
    # Imported here: help is shown without gRPC.
    from weft.rpc.balancing import POLICIES

    if name is not None and name not in POLICIES:
        raise typer.BadParameter(f"there is no policy {name!r}; the policies are {', '.join(POLICIES)}")
    return name


@examples(
    'weft call acme.v1.Greeter/Greet \'{"name": "Ada"}\'',
    "weft call Greeter/Greet @request.json --priority 9 --request-id order-4711",
    'weft call Greeter/Greet \'{"name": "Ada"}\' --direct',
    "weft call Greeter/Greet --explain",
    'weft call Greeter/Greet \'{"name": "Ada"}\' --all',
)
@with_task_options
def call(
    method: inputs.MethodName,
    request: inputs.JsonInput = "",
    target: Target = DEFAULT_TARGET,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="S", min=0.001, help="Deadline of the call, in seconds.")
    ] = DEFAULT_TIMEOUT_S,
    direct: Annotated[
        bool,
        typer.Option(
            "--direct",
            help="Call an agent directly, chosen by load; nothing is stored. A stream of requests is one JSON document a line.",
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Make no call: show which agent a direct call would go to, and why."),
    ] = False,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Policy of a direct call: least_connections (the default), round_robin or weighted.",
            callback=_checked_policy,
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Do not wait for the result: print the task's id.")
    ] = False,
    request_id: inputs.RequestId = None,
    tasks: TaskOptions = NO_TASK_OPTIONS,
    all_agents: Annotated[
        bool, typer.Option("--all", help="Call it once on each agent that hosts it; print each outcome.")
    ] = False,
    show_secrets: ShowSecrets = False,
    as_json: Json = False,
) -> None:
    """Call a method, durably or with --direct, and print its response as JSON. A stream of responses is one JSON document a line.

    The agent, and the task id of a durable call, go to stderr; on a terminal also what the call waits for, if it is not started
    within some seconds. If the call fails, its code, message and details are printed, and the exit status is 1.
    """
    from weft.cli.call.calls_on_all import print_outcomes
    from weft.cli.call.command_call import CommandCall, Mode
    from weft.cli.call.wait_notices import wait_notices
    from weft.cli.process.command_runner import run
    from weft.cli.terminal.payload_view import PayloadView

    own = {"--detach": detach, "--request-id": request_id is not None, "--all": all_agents}
    for_tasks = [option for option, is_given in own.items() if is_given] + tasks.given()
    _check(for_tasks, direct=direct or explain, policy=policy)
    for_each: SubmitOptions = tasks.submit_options() if all_agents else {}
    entries = () if all_agents else tasks.call_metadata(request_id=request_id, detach=detach)
    # A task has one request: it is read before the coordinator is asked anything.
    text = "" if direct or explain else inputs.read_text(request)

    async def work(mesh: Mesh) -> bool:
        resolved = await inputs.resolve(mesh, method, durable=not (direct or explain))
        view = PayloadView(resolved, show_secrets=show_secrets)
        if all_agents:
            return await print_outcomes(mesh, resolved, text, for_each, timeout_s, view, as_json=as_json)
        if explain:
            return await _explain(mesh, resolved.name, policy, timeout_s, as_json=as_json)
        made = CommandCall(mesh, resolved, Mode(direct, policy, detach), view, as_json=as_json)
        if direct or detach:
            return await made.make(request if direct else text, entries, timeout_s)
        async with wait_notices(mesh, resolved.name, tasks.require or ()):
            return await made.make(text, entries, timeout_s)

    if not run(target, work):
        raise typer.Exit(1)


async def _explain(mesh: Mesh, method: str, policy: str | None, timeout_s: float, *, as_json: bool) -> bool:
    """Print which agent the next direct call would go to. Returns False if it would go to none."""
    from weft.cli.call.balancing_table import print_explanation

    direct = mesh.direct(policy) if policy else mesh.direct()
    return print_explanation(await direct.explain(method, timeout_s), as_json=as_json)


def _check(for_tasks: list[str], *, direct: bool, policy: str | None) -> None:
    if direct and for_tasks:
        own = "; a direct call to one agent dials it: --target with its own address, which `weft agents show ID` has"
        raise Failure(
            f"{', '.join(for_tasks)}: for durable calls only, not with --direct or --explain{own if '--agent' in for_tasks else ''}",
            status=2,
        )
    if "--all" in for_tasks and (given := [option for option in for_tasks if option in _NOT_FOR_ALL]):
        raise Failure(f"{', '.join(given)}: not with --all", status=2)
    if policy is not None and not direct:
        raise Failure("--policy is for direct calls only: add --direct or --explain", status=2)
