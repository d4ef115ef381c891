"""`weft agents ...`: list agents, watch them, and say what is wanted of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli import inputs, moments
from weft.cli.lazy import SETTINGS
from weft.cli.options import DEFAULT_TARGET, Json, Target
from weft.cli.output import Styled, Words, json_text, line, remark
from weft.cli.tables import Column, print_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weft.client import Agent, DesiredState, Mesh

app = typer.Typer(help="List, drain, pause and resume agents.", no_args_is_help=True, **SETTINGS)

AgentId = Annotated[str, typer.Argument(metavar="ID", help="The agent.")]

STYLES = {
    "ACTIVE": "green",
    "DRAINING": "yellow",
    "PAUSED": "yellow",
    "SUSPECT": "red",
    "LOST": "red",
    "LEFT": "dim",
}


@app.command("list")
def list_agents(
    method: inputs.MethodFilter = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """List the agents that are known."""
    from weft.cli.documents import agent_document
    from weft.cli.running import run

    async def work(mesh: Mesh) -> list[Agent]:
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


@app.command()
def watch(
    method: inputs.MethodFilter = "",
    target: Target = DEFAULT_TARGET,
    as_json: Json = False,
) -> None:
    """Follow the agents that are connected, until interrupted: one line for each that is new, has changed or is gone."""
    import contextlib

    from weft.cli.running import run

    async def work(mesh: Mesh) -> None:
        known: dict[str, Agent] = {}
        methods = [_method(method, await mesh.fleet.agents())] if method else []
        async with contextlib.aclosing(mesh.fleet.watch(methods)) as updates:
            async for agents in updates:
                for text in _changes(known, agents, as_json=as_json):
                    line(text)
                known = {agent.id: agent for agent in agents}

    run(target, work)


def _method(name: str, agents: Sequence[Agent]) -> str:
    """The method of these agents that is named so."""
    return inputs.one_of(name, {method for agent in agents for method in agent.methods})


def _changes(known: Mapping[str, Agent], agents: Sequence[Agent], *, as_json: bool) -> Iterator[str]:
    from weft.cli.documents import agent_change_document

    for agent in agents:
        if known.get(agent.id) != agent:
            yield json_text(agent_change_document(agent)) if as_json else _change(agent)
    for agent_id in sorted(known.keys() - {agent.id for agent in agents}):
        yield json_text({"id": agent_id, "gone": True}) if as_json else f"{agent_id} gone"


def _change(agent: Agent) -> str:
    parts = [agent.id, agent.state.name]
    if agent.advertised_address:
        parts.append(f"{agent.advertised_address} {agent.direct_state.name.lower()}")
    if agent.direct_problem:
        parts.append(f"({agent.direct_problem})")
    if agent.unavailable:
        parts.append(f"unavailable: {', '.join(sorted(agent.unavailable))}")
    return " ".join(parts)


def _row(agent: Agent) -> list[Words]:
    state = [Styled(agent.state.name, STYLES.get(agent.state.name, ""))]
    if agent.desired_state.name not in {"ACTIVE", agent.state.name}:
        state.append(Styled(f" (wanted: {agent.desired_state.name})", ""))
    if agent.failing:
        state.append(Styled(" (failing)", "red"))
    has = [*(f"{key}={value}" for key, value in sorted(agent.labels.items()))]
    has += [f"{key}={amount:g}" for key, amount in sorted(agent.resources.items())]
    services = sorted({_service(method) for method in agent.methods})
    down = {_service(method) for method in agent.unavailable}
    return [
        agent.id,
        state,
        f"{agent.used_slots}/{agent.slots}",
        _direct(agent),
        " ".join(has),
        _services(services, down),
        f"{agent.process_cpu_cores * 100:.0f} %",
        moments.size(agent.process_memory_bytes),
        moments.since(agent.last_seen_at),
    ]


def _services(names: Sequence[str], down: set[str]) -> Words:
    parts: list[str | Styled] = []
    for name in names:
        parts += [" "] if parts else []
        parts.append(Styled(f"{name} (down)", "red") if name in down else name)
    return parts


def _service(method: str) -> str:
    return method.partition("/")[0].rpartition(".")[2]


def _direct(agent: Agent) -> Words:
    """Whether direct calls reach it."""
    if not agent.advertised_address:
        return "off"
    if agent.direct_state.name == "UNREACHABLE":
        return Styled("UNREACHABLE", "red")
    return "ok" if agent.direct_state.name == "REACHABLE" else "?"


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
