"""`weft agents ...`: list agents and say what is wanted of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import moments
from weft.cli.lazy import SETTINGS
from weft.cli.options import DEFAULT_TARGET, Json, Target
from weft.cli.output import Column, json_text, line, print_rows

if TYPE_CHECKING:
    from weft.client import Agent, DesiredState, Mesh

app = typer.Typer(help="List, drain, pause and resume agents.", no_args_is_help=True, **SETTINGS)

AgentId = Annotated[str, typer.Argument(metavar="ID", help="The agent.")]

STYLES = {"ACTIVE": "green", "DRAINING": "yellow", "PAUSED": "yellow", "SUSPECT": "red", "LOST": "red"}


@app.command("list")
def list_agents(
    method: Annotated[str, typer.Option(metavar="METHOD", help="Only agents that host this method.")] = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """List the agents that are known."""
    from weft.cli.documents import agent_document
    from weft.cli.running import run

    async def work(mesh: Mesh) -> list[Agent]:
        return list(await mesh.fleet.agents(method))

    found = run(target, work)
    if as_json:
        line(json_text([agent_document(agent) for agent in found]))
        return
    columns = (
        Column("agent"),
        Column("state"),
        Column("slots", right=True),
        Column("labels", fold=True),
        Column("services", fold=True),
        Column("cpu", right=True),
        Column("memory", right=True),
        Column("seen", right=True),
    )
    print_rows(columns, [_row(agent) for agent in found], "no agents")


def _row(agent: Agent) -> list[str]:
    from rich.markup import escape

    state = f"[{STYLES[agent.state.name]}]{agent.state.name}[/]"
    if agent.desired_state.name not in {"ACTIVE", agent.state.name}:
        state += f" (wanted: {agent.desired_state.name})"
    has = [*(f"{key}={value}" for key, value in sorted(agent.labels.items()))]
    has += [f"{key}={amount:g}" for key, amount in sorted(agent.resources.items())]
    services = sorted({method.partition("/")[0].rpartition(".")[2] for method in agent.methods})
    return [
        agent.id,
        state,
        f"{agent.used_slots}/{agent.slots}",
        escape(" ".join(has)),
        " ".join(services),
        f"{agent.process_cpu_cores * 100:.0f} %",
        moments.size(agent.process_memory_bytes),
        moments.since(agent.last_seen_at),
    ]


@app.command()
def drain(agent_id: AgentId, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Let an agent take no new work, hand back what has not started, and finish the rest."""
    from weft.client import DesiredState

    _set(agent_id, DesiredState.DRAINING, target, as_json=as_json)


@app.command()
def pause(agent_id: AgentId, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Let an agent take no new work; it keeps what it has."""
    from weft.client import DesiredState

    _set(agent_id, DesiredState.PAUSED, target, as_json=as_json)


@app.command()
def resume(agent_id: AgentId, target: Target = DEFAULT_TARGET, as_json: Json = False) -> None:
    """Let an agent take work again."""
    from weft.client import DesiredState

    _set(agent_id, DesiredState.ACTIVE, target, as_json=as_json)


def _set(agent_id: str, state: DesiredState, target: str, *, as_json: bool) -> None:
    from weft.cli.documents import agent_document
    from weft.cli.running import run

    async def work(mesh: Mesh) -> Agent:
        return await mesh.fleet.set_state(agent_id, state)

    agent = run(target, work)
    line(json_text(agent_document(agent)) if as_json else f"{agent.id} is to be {agent.desired_state.name}")
