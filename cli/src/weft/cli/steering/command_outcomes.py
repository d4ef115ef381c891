"""A command to agents: given, and each outcome printed as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from weft.cli.terminal.output import StyledText, json_text, line, remark

if TYPE_CHECKING:
    from weft.cli.steering.agent_choice import AgentChoice
    from weft.client import CommandOutcome, Mesh, SelectedAgents

Value = TypeVar("Value")

# What is printed of an agent's answer: a JSON document without the id, and lines.
Shown = tuple[dict[str, Any], list[StyledText]]
Give = Callable[["SelectedAgents"], "AsyncGenerator[CommandOutcome[Value]]"]
Show = Callable[[str, Any], Shown]


async def print_outcomes(
    outcomes: AsyncGenerator[CommandOutcome[Any]], show: Show, *, as_json: bool
) -> list[str] | None:
    """Print each; the agents that have done it. None: one has not, or there are none."""
    from weft.cli.rendering.documents import error_document

    done: list[str] = []
    failed = 0
    async with aclosing(outcomes) as come:
        async for each in come:
            if each.error is None:
                done.append(each.agent_id)
                document, lines = show(each.agent_id, each.value)
                for text in [json_text({"id": each.agent_id, **document})] if as_json else lines:
                    line(text)
                continue
            failed += 1
            remark(f"{each.agent_id}: {each.error.code.name}: {each.error.message}")
            if as_json:
                line(json_text({"id": each.agent_id, **error_document(each.error)}))
    if failed and done:
        remark(f"{len(done)} of {len(done) + failed} done, {failed} failed")
    if not (failed or done):
        remark("no connected agent is selected, or none takes it")
    return done if done and not failed else None


def command_agents(choice: AgentChoice, give: Give[Any], show: Show, target: str, *, as_json: bool) -> None:
    """A whole command: connect, give it, and print. Exit status 1 if an agent has not done it, or there is none."""
    from weft.cli.process.command_runner import run

    async def work(mesh: Mesh) -> bool:
        selected = await choice.select(mesh)
        return await print_outcomes(give(selected), show, as_json=as_json) is not None

    if not run(target, work):
        raise typer.Exit(1)
