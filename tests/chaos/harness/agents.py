"""The agents of a deployment: processes, each behind a proxy for every coordinator, so that links can be cut one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.chaos.harness.items import GPUS, Shape
from tests.support.clocks import clock_off
from tests.support.fault_proxy import FaultProxy
from tests.support.mesh import MeshHarness
from tests.support.processes import Process

PROGRAM = "tests.chaos.harness.hosted:agent"


class Agents:
    """Started one by one; `close` ends them all. Nothing here waits until an agent is connected."""

    def __init__(self, folder: Path) -> None:
        # Of agents alone: coordinators have one each.
        self._mesh = MeshHarness(folder)
        self._links: dict[str, dict[str, FaultProxy]] = {}
        self._open_links = contextlib.AsyncExitStack()
        self._clocks_off_s: dict[str, float] = {}

    async def close(self) -> None:
        await self._mesh.close()
        await self._open_links.aclose()

    def logs(self) -> str:
        return self._mesh.logs()

    async def add(self, agent_id: str, targets: Mapping[str, str], shape: Shape, clock_off_s: float) -> None:
        """Start a new one, with links to these coordinators."""
        self._clocks_off_s[agent_id] = clock_off_s
        self._links[agent_id] = {
            name: await self._open_links.enter_async_context(FaultProxy(target))
            for name, target in targets.items()
        }
        await self.start(agent_id, shape)

    async def start(self, agent_id: str, shape: Shape) -> None:
        """Start it, for the first time or again."""
        await self._mesh.agent(
            agent_id,
            slots=shape.slots,
            prefetch=shape.prefetch,
            target=",".join(link.address for link in self._links[agent_id].values()),
            program=PROGRAM,
            env=clock_off(self._clocks_off_s[agent_id]),
            resources={"gpu": GPUS} if shape.gated else None,
            wait=False,
        )

    def process(self, agent_id: str) -> Process:
        return self._mesh.agents[agent_id]

    def home(self, agent_id: str) -> str:
        """The coordinator that it is connected to; it dials one at a time."""
        links = self._links[agent_id]
        return max(links, key=lambda name: links[name].connections)

    def links(self, agent_id: str, coordinator: str | None = None) -> Iterable[FaultProxy]:
        """Its link to this coordinator, or all of them."""
        links = self._links[agent_id]
        return links.values() if coordinator is None else [links[coordinator]]
