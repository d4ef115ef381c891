"""The common part of all deployments: coordinators, agents behind proxies, and a client's connection."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import grpc.aio

from probe.v1.probe_pb2_grpc import ProbeServiceStub
from tests.chaos.harness.agents import Agents
from tests.chaos.harness.items import Shape
from tests.support.clocks import clock_off
from tests.support.mesh import MeshHarness
from weft.rpc.network.channel import client_options
from weft.rpc.network.targets import dialled
from weft.v1 import coordinator_pb2, fleet_pb2
from weft.v1.coordinator_pb2_grpc import CoordinatorServiceStub
from weft.v1.schedule_pb2_grpc import ScheduleServiceStub

# As long as a run with clocks that were set forward, and more: results expire by the coordinator's own clock.
_STARTS = 5
_RESULT_TTL_S = 24 * 3600
_ANSWER_S = 2.0
# A coordinator's log events for refused late results, one or several.
_REFUSALS = ("result.refused", "results.refused")


class Fleet:
    """Coordinators by name, each with the store of its harness, and agents that know all of them."""

    def __init__(
        self, folder: Path, coordinators: Sequence[str], agent_ids: Sequence[str], durability: str
    ) -> None:
        for name in coordinators:
            (folder / name).mkdir(parents=True)
        self.coordinators: Mapping[str, MeshHarness] = {
            name: MeshHarness(folder / name) for name in coordinators
        }
        self.agents = Agents(folder)
        self.agent_ids = agent_ids
        self.ledger = MeshHarness(folder).ledger()
        self._durability = durability
        self._shape: Shape | None = None
        self._clocks_off_s: dict[str, float] = {}
        self._channels: list[grpc.aio.Channel] = []
        self._next_channel: Iterator[grpc.aio.Channel] = iter(())

    async def start(self, shape: Shape, clocks_off_s: Sequence[float] = (0.0,)) -> None:
        self._shape = shape
        offs_s = itertools.cycle(clocks_off_s)
        self._clocks_off_s = {name: next(offs_s) for name in self.coordinators}
        await asyncio.gather(*map(self._start_new, self.coordinators))
        targets = {name: mesh.target for name, mesh in self.coordinators.items()}
        self._dial(list(targets.values()))
        await asyncio.gather(
            *(self.agents.add(agent_id, targets, shape, next(offs_s)) for agent_id in self.agent_ids)
        )
        await asyncio.gather(*map(self.until_active, self.agent_ids))
        await asyncio.gather(*(mesh.wait_serving() for mesh in self.coordinators.values()))

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()
        for mesh in self.coordinators.values():
            await mesh.close()
        await self.agents.close()

    def logs(self) -> str:
        return "\n".join([self.agents.logs(), *(mesh.logs() for mesh in self.coordinators.values())])

    def _dial(self, targets: Sequence[str]) -> None:
        """A channel a coordinator, which goes on to the others when that one is lost."""
        own = {"grpc.service_config", "grpc.use_local_subchannel_pool"}
        options = [
            *((key, value) for key, value in client_options() if key not in own),
            # In the order of the list: each channel begins with another coordinator.
            ("grpc.service_config", '{"loadBalancingConfig":[{"pick_first":{"shuffleAddressList":false}}]}'),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        for at in range(len(targets)):
            order = [*targets[at:], *targets[:at]]
            self._channels.append(grpc.aio.insecure_channel(dialled(order), options=options))
        self._next_channel = itertools.cycle(self._channels)

    @property
    def target(self) -> str:
        return ",".join(mesh.target for mesh in self.coordinators.values())

    def channel(self) -> grpc.aio.Channel:
        return next(self._next_channel)

    def api(self) -> CoordinatorServiceStub:
        return CoordinatorServiceStub(self.channel())

    def schedules(self) -> ScheduleServiceStub:
        return ScheduleServiceStub(self.channel())

    def probe(self) -> ProbeServiceStub:
        return ProbeServiceStub(self.channel())

    # -- coordinators -------------------------------------------------------------------------------------------

    @property
    def coordinator_names(self) -> Sequence[str]:
        return list(self.coordinators)

    async def kill_coordinator(self, name: str) -> None:
        process = self.coordinators[name].coordinator_process
        assert process is not None, name
        await process.kill()

    async def start_coordinator(self, name: str, clock_off_s: float | None = None) -> None:
        if clock_off_s is not None:
            self._clocks_off_s[name] = clock_off_s
        mesh = self.coordinators[name]
        mesh.env = dict(clock_off(self._clocks_off_s[name]))
        for left in reversed(range(_STARTS)):
            try:
                await mesh.restart_coordinator()
                return
            except AssertionError:
                # It exits when its store is not there yet; whoever supervises it starts it again.
                if not left:
                    raise

    async def _start_new(self, name: str) -> None:
        mesh = self.coordinators[name]
        mesh.env = dict(clock_off(self._clocks_off_s[name]))
        await mesh.coordinator(durability=self._durability, result_ttl_s=_RESULT_TTL_S)

    def clock_off_s(self, name: str) -> float:
        return self._clocks_off_s[name]

    async def restart_truth(self) -> None:
        await asyncio.gather(*map(self.kill_coordinator, self.coordinators))
        await asyncio.gather(*map(self.start_coordinator, self.coordinators))

    def stale_refused(self) -> int:
        """Read from the logs: what a coordinator counts dies with it."""
        return sum(map(_refused, self.coordinators.values()))

    # -- agents -------------------------------------------------------------------------------------------------

    async def kill_agent(self, agent_id: str) -> None:
        await self.agents.process(agent_id).kill()

    async def start_agent(self, agent_id: str) -> None:
        assert self._shape is not None
        await self.agents.start(agent_id, self._shape)

    def pause_agent(self, agent_id: str) -> None:
        self.agents.process(agent_id).pause()

    def resume_agent(self, agent_id: str) -> None:
        self.agents.process(agent_id).resume()

    def home(self, agent_id: str) -> str:
        return self.agents.home(agent_id)

    async def cut_link(self, agent_id: str, coordinator: str | None = None) -> None:
        await asyncio.gather(*(link.cut() for link in self.agents.links(agent_id, coordinator)))

    async def silence_link(self, agent_id: str) -> None:
        await asyncio.gather(*(link.blackhole() for link in self.agents.links(agent_id)))

    async def heal_link(self, agent_id: str) -> None:
        await asyncio.gather(*(link.heal() for link in self.agents.links(agent_id)))

    async def until_active(self, agent_id: str) -> None:
        await self._until(agent_id, fleet_pb2.AGENT_STATE_ACTIVE)

    async def until_lost(self, agent_id: str) -> None:
        await self._until(agent_id, fleet_pb2.AGENT_STATE_LOST)

    async def _until(self, agent_id: str, state: fleet_pb2.AgentState) -> None:
        """Wait until any coordinator says so: one of them may be away."""

        async def seen() -> bool:
            answer = await self.api().ListAgents(
                coordinator_pb2.ListAgentsRequest(), timeout=_ANSWER_S, wait_for_ready=True
            )
            return any(agent.id == agent_id and agent.state == state for agent in answer.agents)

        first = next(iter(self.coordinators.values()))
        await first.eventually(seen, f"{agent_id} is {fleet_pb2.AgentState.Name(state)}")


def _refused(mesh: MeshHarness) -> int:
    process = mesh.coordinator_process
    lines = [] if process is None else process.output().splitlines()
    events = [json.loads(line) for line in lines if ".refused" in line and line.startswith("{")]
    return sum(event.get("count", 1) for event in events if event["event"] in _REFUSALS)
