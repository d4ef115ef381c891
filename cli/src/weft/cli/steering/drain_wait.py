"""Waits until agents are drained, and shows how many calls are left meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from weft.cli.terminal.output import remark
from weft.cli.terminal.progress_line import ProgressState, progress_line

if TYPE_CHECKING:
    from weft.client import AgentInfo, Mesh

_POLL_S = 0.25
# Agents that are named in one line.
_NAMED = 3


async def wait_drained(mesh: Mesh, agent_ids: Sequence[str], timeout_s: float) -> int:
    """Wait until agents are drained, and print each. Returns how many are not drained in time."""
    left = LeftCalls()
    async with progress_line(left.progress):
        return await _wait(mesh, set(agent_ids), timeout_s, left)


class LeftCalls:
    """What agents that drain still run, counted down."""

    def __init__(self) -> None:
        self._by_agent: dict[str, int] = {}
        self._most = 0

    def found(self, agents: Iterable[AgentInfo]) -> None:
        """The agents that are not drained, as they are now."""
        self._by_agent = {agent.id: max(agent.in_flight, agent.used_slots) for agent in agents}
        self._most = max(self._most, self._total)

    @property
    def _total(self) -> int:
        return sum(self._by_agent.values())

    def progress(self) -> ProgressState:
        words = [f"{self._total} calls left"] if self._total != 1 else ["1 call left"]
        if len(self._by_agent) > 1:
            most = sorted(self._by_agent.items(), key=lambda item: -item[1])
            words += [f"{agent_id} {count}" for agent_id, count in most[:_NAMED] if count]
        return ProgressState(self._most - self._total, self._most, tuple(words))


async def _wait(mesh: Mesh, waiting: set[str], timeout_s: float, left: LeftCalls) -> int:
    ends_at = time.monotonic() + timeout_s
    while True:
        found = {agent.id: agent for agent in await mesh.fleet.agents()}
        for agent_id in sorted(waiting):
            agent = found.get(agent_id)
            if agent is None or _is_drained(agent):
                waiting.discard(agent_id)
                remark(f"{agent_id} is drained" if agent is not None else f"{agent_id} is gone")
        left.found(found[agent_id] for agent_id in sorted(waiting))
        if not waiting:
            return 0
        if time.monotonic() >= ends_at:
            for agent_id in sorted(waiting):
                remark(f"{agent_id} still runs {found[agent_id].in_flight} calls after {timeout_s:g} s")
            return len(waiting)
        await asyncio.sleep(min(_POLL_S, max(0.0, ends_at - time.monotonic())))


def _is_drained(agent: AgentInfo) -> bool:
    """Whether the agent runs nothing and gets nothing, or is gone."""
    if agent.state.name in {"LEFT", "LOST"}:
        return True
    return agent.state.name == "DRAINING" and not agent.in_flight and not agent.used_slots
