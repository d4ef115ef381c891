"""`weft agents stacks`, `restart`, `stop`, `labels`, `log-level` and `gc`: commands that agents carry out."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line import inputs
from weft.cli.command_line.examples import examples
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target, pairs
from weft.cli.steering.agent_choice import AgentChoice, Everything, Ids, OfMethod, WithLabel
from weft.cli.steering.command_outcomes import Shown, command_agents, print_outcomes
from weft.cli.terminal import moments

if TYPE_CHECKING:
    from weft.client import AgentStacks, GarbageCollection, Mesh

Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="S", min=0.1, max=60, help="How long an agent may take to answer."),
]
Grace = Annotated[
    float | None,
    typer.Option(
        "--grace",
        metavar="S",
        min=0,
        help="How long running handlers may take; unless set, the agent's own setting.",
    ),
]
WaitTimeout = Annotated[
    float, typer.Option("--wait-timeout", metavar="S", min=0, help="With --wait: the most seconds to wait.")
]


class LogLevel(Enum):
    """Levels of a log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def add_to(app: typer.Typer) -> None:
    """Add the commands to `weft agents`."""
    for name, function in _COMMANDS.items():
        app.command(name)(function)


@examples("weft agents stacks host-1", "weft agents stacks --method Greeter/Greet --json")
def stacks(
    agent_ids: Ids = None,
    method: OfMethod = "",
    label: WithLabel = None,
    everything: Everything = False,
    full: Annotated[
        bool, typer.Option("--full", help="Also threads and asyncio tasks that run no handler.")
    ] = False,
    timeout_s: Timeout = 5.0,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Show what the handlers of agents are doing.

    Prints the calls of each, innermost last, without values. Also while a handler blocks an agent's event loop. Exit status 1 if an agent has not answered, or none is selected.
    """
    from weft.cli.rendering.stack_view import stack_lines, stacks_document

    def show(agent_id: str, found: AgentStacks) -> Shown:
        return stacks_document(found), list(stack_lines(agent_id, found, full=full))

    choice = AgentChoice.of(agent_ids, method, label, everything=everything)
    command_agents(choice, lambda agents: agents.stacks(timeout_s=timeout_s), show, target, as_json=as_json)


@examples("weft agents restart host-1 --wait", "weft agents restart --label zone=eu")
def restart(
    agent_ids: Ids = None,
    method: OfMethod = "",
    label: WithLabel = None,
    everything: Everything = False,
    grace_s: Grace = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the new processes take work.")] = False,
    wait_timeout_s: WaitTimeout = 120.0,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Drain agents, then start their processes again.

    The same command begins anew, with the same id, and with code as it is by then.

    Exit status 1 if an agent has refused, none is selected or, with --wait, one is not back in time.
    """
    from weft.cli.process.command_runner import run
    from weft.cli.steering.return_wait import instances, wait_back

    choice = AgentChoice.of(agent_ids, method, label, everything=everything)

    async def work(mesh: Mesh) -> bool:
        before = await instances(mesh) if wait else {}
        given = (await choice.select(mesh)).restart(grace_s=grace_s)
        done = await print_outcomes(given, _says("drains, and starts again"), as_json=as_json)
        if done is None or not wait:
            return done is not None
        return await wait_back(mesh, {each: before.get(each, "") for each in done}, wait_timeout_s)

    if not run(target, work):
        raise typer.Exit(1)


@examples("weft agents stop host-1", "weft agents stop --all --grace 5 --wait")
def stop(
    agent_ids: Ids = None,
    method: OfMethod = "",
    label: WithLabel = None,
    everything: Everything = False,
    grace_s: Grace = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the processes have ended.")] = False,
    wait_timeout_s: WaitTimeout = 120.0,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Drain agents, then end their processes. A supervisor that always restarts them does so.

    Exit status 1 if an agent has refused, none is selected or, with --wait, one has not ended in time.
    """
    from weft.cli.process.command_runner import run
    from weft.cli.steering.return_wait import instances, wait_gone

    choice = AgentChoice.of(agent_ids, method, label, everything=everything)

    async def work(mesh: Mesh) -> bool:
        before = await instances(mesh) if wait else {}
        given = (await choice.select(mesh)).stop(grace_s=grace_s)
        done = await print_outcomes(given, _says("drains, and ends"), as_json=as_json)
        if done is None or not wait:
            return done is not None
        return await wait_gone(mesh, {each: before.get(each, "") for each in done}, wait_timeout_s)

    if not run(target, work):
        raise typer.Exit(1)


@examples(
    "weft agents labels host-1 --set zone=eu --set tier=a", "weft agents labels --label zone=eu --remove tier"
)
def labels(
    agent_ids: Ids = None,
    method: OfMethod = "",
    label: WithLabel = None,
    everything: Everything = False,
    changed: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A label to add or change; repeatable."),
    ] = None,
    removed: Annotated[
        list[str] | None, typer.Option("--remove", metavar="KEY", help="A label to remove; repeatable.")
    ] = None,
    timeout_s: Timeout = 5.0,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Change labels of agents. They count for new tasks at once, and until the agent's process ends.

    Prints all labels of each agent. Exit status 1 if an agent has not changed them, or none is selected.
    """
    choice = AgentChoice.of(agent_ids, method, label, everything=everything)
    added = pairs(changed or [], "--set")
    if not (added or removed):
        raise typer.BadParameter("say what to change: --set KEY=VALUE or --remove KEY")

    def show(agent_id: str, found: dict[str, str]) -> Shown:
        shown = " ".join(f"{key}={value}" for key, value in sorted(found.items()))
        return {"labels": found}, [f"{agent_id}  {shown}"]

    command_agents(
        choice,
        lambda agents: agents.set_labels(added, remove=removed or (), timeout_s=timeout_s),
        show,
        target,
        as_json=as_json,
    )


@examples("weft agents log-level debug host-1", "weft agents log-level info --all")
def log_level(
    level: Annotated[LogLevel, typer.Argument(metavar="LEVEL", help="debug, info, warning or error.")],
    agent_ids: Ids = None,
    method: OfMethod = "",
    label: WithLabel = None,
    everything: Everything = False,
    timeout_s: Timeout = 5.0,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Change the level of agents' logs.

    It holds until the agent's process ends.

    Exit status 1 if an agent has not changed it, or none is selected.
    """
    choice = AgentChoice.of(agent_ids, method, label, everything=everything)
    command_agents(
        choice,
        lambda agents: agents.set_log_level(level.value, timeout_s=timeout_s),
        _says(f"logs from {level.value} on", level=level.value),
        target,
        as_json=as_json,
    )


@examples("weft agents gc host-1", "weft agents gc --all --json")
def collect(
    agent_ids: Ids = None,
    method: OfMethod = "",
    label: WithLabel = None,
    everything: Everything = False,
    timeout_s: Timeout = 5.0,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Collect Python's garbage at agents. Nothing else runs in the process meanwhile.

    Exit status 1 if an agent has not done it, or none is selected.
    """

    def show(agent_id: str, done: GarbageCollection) -> Shown:
        document = {
            "objects": done.objects,
            "took_s": done.took_s,
            "memory_before_bytes": done.memory_before_bytes,
            "memory_after_bytes": done.memory_after_bytes,
        }
        before, after = moments.size(done.memory_before_bytes), moments.size(done.memory_after_bytes)
        return document, [
            f"{agent_id}  {done.objects} objects in {moments.span(done.took_s)}; memory {before} before, {after} after"
        ]

    choice = AgentChoice.of(agent_ids, method, label, everything=everything)
    command_agents(
        choice, lambda agents: agents.collect_garbage(timeout_s=timeout_s), show, target, as_json=as_json
    )


@examples(
    """weft agents tell acme.v1.SettingsChanged '{"version": 3}'""",
    "weft agents tell SettingsChanged @changed.json --label zone=eu",
)
def tell(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="TYPE", help="Name of a message type of a contract, with or without its package."
        ),
    ],
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="JSON; @FILE: a file; -: stdin.")],
    agent_ids: Ids = None,
    method: OfMethod = "",
    label: WithLabel = None,
    timeout_s: Timeout = 5.0,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Send a message to the programs of agents.

    It goes to those that take messages of its type, of all connected agents or of those that are selected. Exit status 1 if one was not reached, or none takes
    it.
    """
    from weft.cli.process.command_runner import run

    text = inputs.read_text(message)
    everything = not (agent_ids or method or label)
    choice = AgentChoice.of(agent_ids, method, label, everything=everything)

    async def work(mesh: Mesh) -> bool:
        resolved = await inputs.resolve_message(mesh, kind)
        told = resolved.message_class.FromString(resolved.from_json(text))
        outcomes = (await choice.select(mesh)).tell(told, timeout_s=timeout_s)
        return await print_outcomes(outcomes, _says("has it"), as_json=as_json) is not None

    if not run(target, work):
        raise typer.Exit(1)


def _says(what: str, **document: Any) -> Any:
    """What is printed of an agent that has nothing to say itself."""
    return lambda agent_id, _: ({"done": what, **document}, [f"{agent_id} {what}"])


_COMMANDS: dict[str, Callable[..., None]] = {
    "stacks": stacks,
    "restart": restart,
    "stop": stop,
    "labels": labels,
    "log-level": log_level,
    "gc": collect,
    "tell": tell,
}
