"""The embedded store's deployment: one coordinator on a file, three agents, each behind a proxy that cuts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import grpc.aio

from probe.v1.probe_pb2_grpc import ProbeServiceStub
from tests.chaos.harness.deployment import Part
from tests.chaos.harness.items import Shape
from tests.support import tasks
from tests.support.fault_proxy import FaultProxy
from tests.support.mesh import MeshHarness
from weft.v1 import coordinator_pb2, fleet_pb2
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub

COORDINATOR = "coordinator"


class Embedded:
    """A deployment (see there) in `folder`."""

    parts = frozenset({Part.COORDINATOR, Part.AGENT, Part.LINK})
    agent_ids: Sequence[str] = ("a1", "a2", "a3")
    coordinator_names: Sequence[str] = (COORDINATOR,)

    def __init__(self, folder: Path, durability: str) -> None:
        self.mesh = MeshHarness(folder)
        self.ledger = self.mesh.ledger()
        self._durability = durability
        self._shape: Shape | None = None
        self._links: dict[str, FaultProxy] = {}
        self._open_links = contextlib.AsyncExitStack()
        # By coordinators that were killed since.
        self._refused_before = 0

    async def start(self, shape: Shape) -> None:
        self._shape = shape
        await self.mesh.coordinator(durability=self._durability)
        for agent_id in self.agent_ids:
            link = FaultProxy(self.mesh.target)
            self._links[agent_id] = await self._open_links.enter_async_context(link)
            await self.start_agent(agent_id)
        await self.mesh.wait_serving()
        await asyncio.gather(*map(self.until_active, self.agent_ids))

    async def close(self) -> None:
        await self.mesh.close()
        await self._open_links.aclose()

    def logs(self) -> str:
        return self.mesh.logs()

    def api(self) -> CoordinatorServiceStub:
        return self.mesh.api()

    def probe(self) -> ProbeServiceStub:
        return self.mesh.probe()

    async def kill_coordinator(self, name: str) -> None:
        assert self.mesh.coordinator_process is not None, name
        with contextlib.suppress(grpc.aio.AioRpcError):
            self._refused_before += await self._refused_now()
        await self.mesh.coordinator_process.kill()

    async def start_coordinator(self, name: str) -> None:
        await self.mesh.restart_coordinator()

    async def stale_refused(self) -> int:
        return self._refused_before + await self._refused_now()

    async def _refused_now(self) -> int:
        answer = await self.api().ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=5)
        return sum(agent.stale_results_refused for agent in answer.agents)

    async def kill_agent(self, agent_id: str) -> None:
        await self.mesh.agents[agent_id].kill()

    async def start_agent(self, agent_id: str) -> None:
        assert self._shape is not None
        await self.mesh.agent(
            agent_id,
            slots=self._shape.slots,
            prefetch=self._shape.prefetch,
            target=self._links[agent_id].address,
            program=tasks.PLAIN,
            wait=False,
        )

    def pause_agent(self, agent_id: str) -> None:
        self.mesh.agents[agent_id].pause()

    def resume_agent(self, agent_id: str) -> None:
        self.mesh.agents[agent_id].resume()

    async def cut_link(self, agent_id: str) -> None:
        await self._links[agent_id].cut()

    async def silence_link(self, agent_id: str) -> None:
        await self._links[agent_id].blackhole()

    async def heal_link(self, agent_id: str) -> None:
        await self._links[agent_id].heal()

    async def until_active(self, agent_id: str) -> None:
        await self.mesh.wait_agent(agent_id)

    async def until_lost(self, agent_id: str) -> None:
        await self.mesh.wait_agent(agent_id, fleet_pb2.AGENT_STATE_LOST)
