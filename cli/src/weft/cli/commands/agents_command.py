"""`weft agents ...`: list and watch agents, and set their desired state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from weft.cli.command_line import completion, inputs
from weft.cli.command_line.examples import examples, with_examples
from weft.cli.command_line.lazy_group import SETTINGS
from weft.cli.command_line.shared_options import DEFAULT_TARGET, Json, Target
from weft.cli.commands import worker_commands
from weft.cli.steering.agent_choice import AgentChoice, Everything, Ids, OfMethod, WithLabel
from weft.cli.steering.id_changes import change_each
from weft.cli.terminal import moments
from weft.cli.terminal.output import Styled, StyledText, json_text, line, remark
from weft.cli.terminal.tables import Column, print_pairs, print_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weft.client import AgentInfo, DesiredState, Mesh

_HELP = with_examples(
    "List, show, watch and command agents.",
    "weft agents list",
    "weft agents drain host-1 --wait",
    "weft agents stacks host-1",
)
app = typer.Typer(help=_HELP, no_args_is_help=True, **SETTINGS)


@app.command("list")
@examples(
    "weft agents list",
    "weft agents list --method Greeter/Greet --json",
)
def list_agents(
    method: inputs.MethodFilter = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """List all known agents."""
    from weft.cli.process.command_runner import run
    from weft.cli.rendering.agent_facts import why_little
    from weft.cli.rendering.documents import agent_document

    async def work(mesh: Mesh) -> list[AgentInfo]:
        found = list(await mesh.fleet.agents())
        if not method:
            return found
        of = _method(method, found)
        return [agent for agent in found if of in agent.methods]

    found = run(target, work)
    if as_json:
        line(json_text([agent_document(agent) for agent in found]))
        return
    columns = (
        Column("agent"),
        Column("state"),
        Column("slots", right=True),
        Column("direct"),
        Column("labels", below=True),
        Column("services", below=True),
        Column("cpu", right=True, spare=2),
        Column("memory", right=True, spare=3),
        Column("seen", right=True, spare=1),
    )
    print_rows(columns, [_row(agent) for agent in found], "no agents")
    for agent in found:
        if agent.direct_problem:
            remark(f"{agent.id}: {agent.direct_problem}")
        for why in why_little(agent):
            remark(f"{agent.id}: {why}")
        if agent.overrun_slots:
            remark(
                f"{agent.id}: handlers that ignore their cancellation use {agent.overrun_slots} of its slots"
                f" ({', '.join(agent.overrun_methods)}); isolate=True runs a handler in a process that can be killed"
            )


@app.command()
@examples("weft agents show host-1", "weft agents show host-1 --json")
def show(
    agent_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of an agent.", autocompletion=completion.agent_ids)
    ],
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Show one agent, and why it gets few tasks or none."""
    from weft.cli.process.command_runner import run
    from weft.cli.rendering.agent_facts import facts
    from weft.cli.rendering.documents import agent_document

    agent = run(target, lambda mesh: mesh.fleet.agent(agent_id))
    if as_json:
        line(json_text(agent_document(agent)))
    else:
        print_pairs(facts(agent))


@app.command()
@examples(
    "weft agents watch",
    "weft agents watch --method Greeter/Greet --json",
)
def watch(
    method: inputs.MethodFilter = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Watch the connected agents until Ctrl-C. A line is printed when an agent is new, has changed or is gone."""
    import contextlib

    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> None:
        known: dict[str, AgentInfo] = {}
        methods = [_method(method, await mesh.fleet.agents())] if method else []
        async with contextlib.aclosing(mesh.fleet.watch(methods)) as updates:
            async for agents in updates:
                for text in _changes(known, agents, as_json=as_json):
                    line(text)
                known = {agent.id: agent for agent in agents}

    run(target, work)


def _method(name: str, agents: Sequence[AgentInfo]) -> str:
    """The full name of a method of these agents."""
    return inputs.one_of(name, {method for agent in agents for method in agent.methods})


def _changes(known: Mapping[str, AgentInfo], agents: Sequence[AgentInfo], *, as_json: bool) -> Iterator[str]:
    from weft.cli.rendering.documents import agent_change_document

    for agent in agents:
        if known.get(agent.id) != agent:
            yield json_text(agent_change_document(agent)) if as_json else _change(agent)
    for agent_id in sorted(known.keys() - {agent.id for agent in agents}):
        yield json_text({"id": agent_id, "gone": True}) if as_json else f"{agent_id} gone"


def _change(agent: AgentInfo) -> str:
    parts = [agent.id, agent.state.name]
    if agent.advertised_address:
        parts.append(f"{agent.advertised_address} {agent.direct_state.name.lower()}")
    if agent.direct_problem:
        parts.append(f"({agent.direct_problem})")
    if agent.failing:
        parts.append("failing")
    if agent.unavailable:
        parts.append(f"unavailable: {', '.join(sorted(agent.unavailable))}")
    return " ".join(parts)


def _row(agent: AgentInfo) -> list[StyledText]:
    from weft.cli.rendering.agent_facts import styled_state

    has = [*(f"{key}={value}" for key, value in sorted(agent.labels.items()))]
    has += [f"{key}={amount:g}" for key, amount in sorted(agent.resources.items())]
    services = sorted({_service(method) for method in agent.methods})
    down = {_service(method) for method in agent.unavailable}
    return [
        agent.id,
        styled_state(agent),
        f"{agent.used_slots}/{agent.slots}",
        _direct(agent),
        " ".join(has),
        _services(services, down),
        f"{agent.process_cpu_cores * 100:.0f} %",
        moments.size(agent.process_memory_bytes),
        moments.since(agent.last_seen_at),
    ]


def _services(names: Sequence[str], down: set[str]) -> StyledText:
    parts: list[str | Styled] = []
    for name in names:
        parts += [" "] if parts else []
        parts.append(Styled(f"{name} (down)", "red") if name in down else name)
    return parts


def _service(method: str) -> str:
    return method.partition("/")[0].rpartition(".")[2]


def _direct(agent: AgentInfo) -> StyledText:
    """Whether direct calls reach the agent."""
    if not agent.advertised_address:
        return "off"
    if agent.direct_state.name == "UNREACHABLE":
        return Styled("UNREACHABLE", "red")
    return "ok" if agent.direct_state.name == "REACHABLE" else "?"


@app.command()
@examples("weft agents drain host-1 host-2 --wait", "weft agents drain --label zone=eu")
def drain(
    agent_ids: Ids = None,
    method: OfMethod = "",
    label: WithLabel = None,
    everything: Everything = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait", help="Wait until the agents run nothing any more, or are gone; shows what is left."
        ),
    ] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="S", min=0, help="With --wait: the most seconds to wait.")
    ] = 600.0,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Drain agents. They take no new work, release attempts that have not started, and finish the others.

    Exit status 1 if an agent is unknown or, with --wait, is not drained in time.
    """
    from weft.cli.process.command_runner import run
    from weft.cli.steering.drain_wait import wait_drained
    from weft.client import DesiredState

    choice = AgentChoice.of(agent_ids, method, label, everything=everything)

    async def work(mesh: Mesh) -> int:
        found = await choice.found(mesh)
        failed = await _set_state(mesh, found, DesiredState.DRAINING, as_json=as_json)
        return failed + (await wait_drained(mesh, found, timeout_s) if wait else 0)

    if run(target, work):
        raise typer.Exit(1)


@app.command()
@examples("weft agents pause host-1 host-2")
def pause(
    agent_ids: Ids = None,
    method: OfMethod = "",
    label: WithLabel = None,
    everything: Everything = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Pause agents. They take no new work, and keep the attempts that they hold."""
    from weft.client import DesiredState

    choice = AgentChoice.of(agent_ids, method, label, everything=everything)
    _set_states(choice, DesiredState.PAUSED, target, as_json=as_json)


@app.command()
@examples("weft agents resume host-1 host-2")
def resume(
    agent_ids: Ids = None,
    method: OfMethod = "",
    label: WithLabel = None,
    everything: Everything = False,
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Resume agents: they take work again."""
    from weft.client import DesiredState

    choice = AgentChoice.of(agent_ids, method, label, everything=everything)
    _set_states(choice, DesiredState.ACTIVE, target, as_json=as_json)


def _set_states(choice: AgentChoice, state: DesiredState, target: str, *, as_json: bool) -> None:
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> int:
        return await _set_state(mesh, await choice.found(mesh), state, as_json=as_json)

    if run(target, work):
        raise typer.Exit(1)


async def _set_state(mesh: Mesh, agent_ids: Sequence[str], state: DesiredState, *, as_json: bool) -> int:
    """Set the desired state of each agent. Returns how many failed; one if there is no agent."""
    if not agent_ids:
        remark("no connected agent is selected")
        return 1
    counts = await change_each(
        agent_ids, lambda agent_id: mesh.fleet.set_state(agent_id, state), _shown, as_json=as_json
    )
    return counts.failed


def _shown(agent: AgentInfo) -> tuple[dict[str, Any], str]:
    from weft.cli.rendering.documents import agent_document

    return agent_document(agent), f"{agent.id} desired state: {agent.desired_state.name}"


worker_commands.add_to(app)
