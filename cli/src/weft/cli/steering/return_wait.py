"""Waits until agents that were restarted are back, or those that were stopped are gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from weft.cli.terminal.output import remark

if TYPE_CHECKING:
    from weft.client import AgentInfo, Mesh

_POLL_S = 0.1


async def instances(mesh: Mesh) -> dict[str, str]:
    """The process of each known agent."""
    return {agent.id: agent.instance_id for agent in await mesh.fleet.agents()}


async def wait_back(mesh: Mesh, before: Mapping[str, str], timeout_s: float) -> bool:
    """Wait until these agents are other processes that take work. False: one is not, in time.

    Args:
        before: the process of each, by id.
    """

    def is_back(agent_id: str, agent: AgentInfo | None) -> bool:
        return agent is not None and agent.state.name == "ACTIVE" and agent.instance_id != before[agent_id]

    return await _wait(mesh, set(before), is_back, "is back", timeout_s)


async def wait_gone(mesh: Mesh, before: Mapping[str, str], timeout_s: float) -> bool:
    """Wait until the processes of these agents have ended. False: one has not, in time."""

    def is_gone(agent_id: str, agent: AgentInfo | None) -> bool:
        return agent is None or agent.state.name in {"LEFT", "LOST"} or agent.instance_id != before[agent_id]

    return await _wait(mesh, set(before), is_gone, "has ended", timeout_s)


async def _wait(
    mesh: Mesh,
    waiting: set[str],
    done: Callable[[str, AgentInfo | None], bool],
    what: str,
    timeout_s: float,
) -> bool:
    ends_at = time.monotonic() + timeout_s
    while waiting:
        found = {agent.id: agent for agent in await mesh.fleet.agents()}
        for agent_id in sorted(waiting):
            if done(agent_id, found.get(agent_id)):
                waiting.discard(agent_id)
                remark(f"{agent_id} {what}")
        if waiting and time.monotonic() >= ends_at:
            for agent_id in sorted(waiting):
                remark(
                    f"{agent_id}: not after {timeout_s:g} s; its log, and that of what started it, say why"
                )
            return False
        await asyncio.sleep(_POLL_S if waiting else 0.0)
    return True
