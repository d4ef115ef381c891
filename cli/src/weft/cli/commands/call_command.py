"""`weft call`: one call with JSON in and out, durable or direct; or the choice of the agent explained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line import inputs
from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.terminal.failure import Failure

if TYPE_CHECKING:
    from weft.client import Mesh

DEFAULT_TIMEOUT_S = 60.0
# Options that mean nothing, or something else, with a task for each agent.
_NOT_FOR_ALL = (
    "--agent",
    "--detach",
    "--request-id",
    "--no-wait",
    "--fairness-key",
    "--lock",
    "--shared-lock",
    "--consume",
)


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
    priority: inputs.Priority = None,
    delay_s: inputs.DelayS = None,
    request_id: inputs.RequestId = None,
    require: inputs.Require = None,
    agent: inputs.Agent = None,
    all_agents: Annotated[
        bool, typer.Option("--all", help="Call it once on each agent that hosts it; print each outcome.")
    ] = False,
    no_wait: inputs.NoWait = False,
    fairness_key: inputs.FairnessKey = None,
    lock: inputs.Locks = None,
    shared_lock: inputs.SharedLocks = None,
    consume: inputs.Consumes = None,
    metadata: inputs.Metadata = None,
    as_json: Json = False,
) -> None:
    """Call a method, durably or with --direct, and print its response as JSON. A stream of responses is one JSON document a line.

    The agent, and the task id of a durable call, go to stderr; on a terminal also what the call waits for, if it is not started
    within some seconds. If the call fails, its code, message and details are printed, and the exit status is 1.
    """
    from weft.cli.call.calls_on_all import print_outcomes
    from weft.cli.call.command_call import CommandCall, Mode
    from weft.cli.call.wait_notices import wait_notices
    from weft.cli.commands.submit_command import submit_options
    from weft.cli.process.command_runner import run
    from weft.client import call_options

    for_tasks = {
        "--detach": detach,
        "--priority": priority is not None,
        "--delay-s": delay_s is not None,
        "--request-id": request_id is not None,
        "--require": bool(require),
        "--no-wait": no_wait,
        "--fairness-key": fairness_key is not None,
        "--lock": bool(lock),
        "--shared-lock": bool(shared_lock),
        "--consume": bool(consume),
        "--agent": agent is not None,
        "--all": all_agents,
    }
    _check(for_tasks, direct=direct or explain, policy=policy)
    for_each = submit_options(priority, delay_s, require, metadata=metadata if all_agents else None)
    entries = call_options(
        request_id=request_id,
        priority=priority,
        delay_s=delay_s,
        require=",".join(require or ()),
        agent=agent,
        detach=detach,
        no_wait=no_wait or None,
        fairness_key=fairness_key,
        locks=inputs.locks(lock, shared_lock),
        consumes=inputs.amounts(consume, "--consume"),
        metadata=inputs.metadata_entries(metadata or [], own_keys=True),
    )
    inputs.check_sendable(entries)
    # A task has one request: it is read before the coordinator is asked anything.
    text = "" if direct or explain else inputs.read_text(request)

    async def work(mesh: Mesh) -> bool:
        resolved = await inputs.resolve(mesh, method, durable=not (direct or explain))
        if all_agents:
            return await print_outcomes(mesh, resolved, text, for_each, timeout_s, as_json=as_json)
        if explain:
            return await _explain(mesh, resolved.name, policy, timeout_s, as_json=as_json)
        made = CommandCall(mesh, resolved, Mode(direct, policy, detach), as_json=as_json)
        if direct or detach:
            return await made.make(request if direct else text, entries, timeout_s)
        async with wait_notices(mesh, resolved.name, require or ()):
            return await made.make(text, entries, timeout_s)

    if not run(target, work):
        raise typer.Exit(1)


async def _explain(mesh: Mesh, method: str, policy: str | None, timeout_s: float, *, as_json: bool) -> bool:
    """Print which agent the next direct call would go to. Returns False if it would go to none."""
    from weft.cli.call.balancing_table import print_explanation

    direct = mesh.direct(policy) if policy else mesh.direct()
    return print_explanation(await direct.explain(method, timeout_s), as_json=as_json)


def _check(for_tasks: dict[str, bool], *, direct: bool, policy: str | None) -> None:
    given = [option for option, is_given in for_tasks.items() if is_given]
    if direct and given:
        raise Failure(
            f"{', '.join(given)}: for durable calls only, not with --direct or --explain",
            status=2,
        )
    if for_tasks["--all"] and (given := [option for option in _NOT_FOR_ALL if for_tasks[option]]):
        raise Failure(f"{', '.join(given)}: not with --all", status=2)
    if policy is not None and not direct:
        raise Failure("--policy is for direct calls only: add --direct or --explain", status=2)
