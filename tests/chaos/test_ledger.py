"""kill -9 of agents and of the coordinator under load, held against a ledger that the mesh knows nothing of.

    acknowledged task       found afterwards, with one outcome, its own
    acknowledged result     the same whenever it is read again
    second start            only after the first one's agent was killed, or paused past its lease, or for a
                            submission of unknown outcome

Each run prints its seed; WEFT_SEED repeats it.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from tests.chaos.load import Item, Load
from tests.support import tasks
from tests.support.ledger import Fact, Ledger
from tests.support.mesh import MeshHarness
from weft.v1 import coordinator_pb2, fleet_pb2

AGENTS = ("a1", "a2", "a3")
# An agent that was resumed has heard within this what it has lost.
HEARS_S = 2.0


@dataclass
class Chaos:
    """Blows at points of the load's progress that the seed has drawn. The dead are started again at once; a paused
    agent goes on when the coordinator has given it up."""

    mesh: MeshHarness
    load: Load
    rng: random.Random
    agent_kills: int
    agent_pauses: int
    coordinator_kills: int
    # When each agent was killed, and when it was paused and resumed.
    killed_at: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    paused: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    coordinator_killed_at: list[float] = field(default_factory=list)

    async def run(self) -> None:
        blows: list[Callable[[], Awaitable[None]]] = [
            *[self.kill_coordinator] * self.coordinator_kills,
            *[self.kill_agent] * self.agent_kills,
            *[self.pause_agent] * self.agent_pauses,
        ]
        self.rng.shuffle(blows)
        span = range(self.load.count // 20, self.load.count * 9 // 10)
        for point, strike in zip(sorted(self.rng.sample(span, len(blows))), blows, strict=True):
            while self.load.read < point:
                await asyncio.sleep(0.005)
            await strike()

    async def kill_coordinator(self) -> None:
        assert self.mesh.coordinator_process is not None
        await self.mesh.coordinator_process.kill()
        self.coordinator_killed_at.append(time.time())
        await self.mesh.restart_coordinator()

    async def kill_agent(self) -> None:
        agent_id = self.rng.choice(AGENTS)
        await self.mesh.agents[agent_id].kill()
        self.killed_at[agent_id].append(time.time())
        await self.start_agent(agent_id)

    async def pause_agent(self) -> None:
        agent_id = self.rng.choice(AGENTS)
        await self.mesh.wait_agent(agent_id)
        self.mesh.agents[agent_id].pause()
        paused_at = time.time()
        await self.mesh.wait_agent(agent_id, fleet_pb2.AGENT_STATE_LOST)
        self.mesh.agents[agent_id].resume()
        self.paused[agent_id].append((paused_at, time.time()))

    async def start_agent(self, agent_id: str) -> None:
        await self.mesh.agent(agent_id, slots=8, prefetch=8, wait=False, program=tasks.PLAIN)

    def explains(self, item: Item, earlier: Fact, later: Fact) -> bool:
        """Whether an attempt had to be followed by another."""
        if item.request.fail_code and earlier.attempt <= item.request.fail_attempts:
            return True
        agent_id, span = earlier.agent_id, (earlier.time_s, later.time_s)
        if any(_within(at, span) for at in self.killed_at[agent_id]):
            return True
        # What it had not started yet it starts when it goes on, and hears then that it has lost it.
        if any(at < later.time_s and earlier.time_s < until + HEARS_S for at, until in self.paused[agent_id]):
            return True
        # It began before it was acknowledged, and the acknowledgement never came: repeated as another task.
        return item.repeated and any(_within(at, span) for at in self.coordinator_killed_at)


def _within(at: float, span: tuple[float, float]) -> bool:
    return span[0] <= at <= span[1]


def second_starts(load: Load, ledger: Ledger, chaos: Chaos) -> tuple[int, int]:
    """Starts of what had started already and was not to be retried, each of them explained: how many there were,
    of tasks that were submitted once and of those that were submitted again."""
    starts: dict[str, list[Fact]] = defaultdict(list)
    for fact in ledger.facts("start"):
        starts[fact.text].append(fact)
    assert len(starts) == load.count
    again = [0, 0]
    for item in load.items:
        attempts = sorted(starts[item.request.text], key=lambda fact: (fact.attempt, fact.time_s))
        for earlier, later in pairwise(attempts):
            assert chaos.explains(item, earlier, later), (item, attempts, chaos.killed_at, chaos.paused)
            again[item.repeated] += not item.request.fail_code
    return again[0], again[1]


async def together(work: Awaitable[None], chaos: Awaitable[None]) -> None:
    async with asyncio.TaskGroup() as group:
        for each in (work, chaos):
            group.create_task(_awaited(each))


async def _awaited(work: Awaitable[None]) -> None:
    await work


async def storm(
    mesh: MeshHarness,
    durability: str,
    count: int,
    *,
    agent_kills: int,
    agent_pauses: int,
    coordinator_kills: int,
) -> None:
    seed = int(os.environ.get("WEFT_SEED") or random.SystemRandom().getrandbits(32))
    print(f"WEFT_SEED={seed}")
    rng = random.Random(seed)
    await mesh.coordinator(durability=durability)
    ledger = mesh.ledger()
    load = Load(mesh, rng, count, ledger.path)
    chaos = Chaos(mesh, load, rng, agent_kills, agent_pauses, coordinator_kills)
    for agent_id in AGENTS:
        await chaos.start_agent(agent_id)
    await mesh.wait_serving()

    started_at = time.monotonic()
    await together(load.run(callers=2), chaos.run())
    took_s = time.monotonic() - started_at

    await load.read_again()
    agents = (await mesh.api().ListAgents(coordinator_pb2.ListAgentsRequest(), timeout=10)).agents
    stale = sum(agent.stale_results_refused for agent in agents)
    await mesh.restart_coordinator()
    await load.read_again()
    await load.nothing_else()
    once, repeated = second_starts(load, ledger, chaos)
    print(
        f"{count} tasks, {load.called} of them transparent calls, durability {durability}, in {took_s:.1f} s:"
        f" {agent_kills} agents and {coordinator_kills} coordinators killed, {agent_pauses} agents paused past"
        f" their lease, 0 tasks and 0 results lost, {stale} stale results refused by the last coordinator,"
        f" {once} second starts ({once * 1_000_000 // count} a million) and {repeated} of what was submitted again"
    )


async def test_nothing_acknowledged_is_lost(mesh: MeshHarness) -> None:
    await storm(mesh, "process", 5000, agent_kills=3, agent_pauses=1, coordinator_kills=3)


async def test_nothing_acknowledged_is_lost_at_full_durability(mesh: MeshHarness) -> None:
    await storm(mesh, "full", 1000, agent_kills=1, agent_pauses=0, coordinator_kills=2)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("durability", ["process", "full"])
async def test_nothing_acknowledged_is_lost_in_a_long_storm(mesh: MeshHarness, durability: str) -> None:
    await storm(mesh, durability, 30_000, agent_kills=20, agent_pauses=6, coordinator_kills=14)
