"""Which agents a command of `weft agents` is for: ids, or a selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from weft.cli.command_line import completion, inputs
from weft.cli.command_line.shared_options import pairs

if TYPE_CHECKING:
    from weft.client import AgentInfo, Mesh, SelectedAgents

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Ids of agents.", autocompletion=completion.agent_ids),
]
OfMethod = Annotated[
    str,
    typer.Option(
        "--method", metavar="METHOD", help="Agents that host this method.", autocompletion=completion.methods
    ),
]
WithLabel = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="Agents that have this label; repeatable."),
]
Everything = Annotated[bool, typer.Option("--all", help="All connected agents.")]


@dataclass(frozen=True, slots=True)
class AgentChoice:
    """The agents for which all that was given holds."""

    ids: Sequence[str]
    method: str
    labels: Mapping[str, str]
    everything: bool

    @classmethod
    def of(
        cls, ids: Sequence[str] | None, method: str, labels: Sequence[str] | None, *, everything: bool
    ) -> AgentChoice:
        """
        Raises:
            BadParameter: nothing was given.
        """
        made = cls(ids or (), method, pairs(list(labels or ()), "--label"), everything)
        if not (made.ids or method or made.labels or everything):
            raise typer.BadParameter("say which agents: by ID, --method, --label, or --all of them")
        return made

    async def select(self, mesh: Mesh) -> SelectedAgents:
        """The agents, for commands."""
        method = self.method
        if method:
            agents = await mesh.fleet.agents()
            method = inputs.one_of(method, {each for agent in agents for each in agent.methods})
        return mesh.fleet.select(*self.ids, method=method, labels=self.labels, everything=self.everything)

    async def found(self, mesh: Mesh) -> list[str]:
        """Their ids; those that were named without anything else are not looked for."""
        if self.ids and not (self.method or self.labels):
            return list(self.ids)
        agents = await mesh.fleet.agents()
        method = self.method
        if method:
            method = inputs.one_of(method, {each for agent in agents for each in agent.methods})
        return [agent.id for agent in agents if self._fits(agent, method)]

    def _fits(self, agent: AgentInfo, method: str) -> bool:
        if self.ids:
            return agent.id in self.ids and self._has(agent, method)
        return agent.state.name not in {"LOST", "LEFT"} and self._has(agent, method)

    def _has(self, agent: AgentInfo, method: str) -> bool:
        labels = all(agent.labels.get(key) == value for key, value in self.labels.items())
        return labels and (not method or method in agent.methods)
