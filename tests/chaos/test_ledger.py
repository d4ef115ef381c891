"""kill -9 of agents and of the coordinator under load, held against a ledger that the mesh knows nothing of.

    acknowledged task       found afterwards, with one outcome, its own
    acknowledged result     the same whenever it is read again
    second start            only after the first one's agent was killed, or for a submission of unknown outcome

Each run prints its seed; WEFT_SEED repeats it.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from tests.chaos.load import Item, Load
from tests.support.ledger import Fact, Ledger
from tests.support.mesh import MeshHarness

AGENTS = ("a1", "a2", "a3")


@dataclass
class Chaos:
    """Kills at points of the load's progress that the seed has drawn; the dead are started again at once."""

    mesh: MeshHarness
    load: Load
    rng: random.Random
    agent_kills: int
    coordinator_kills: int
    # When each agent was killed.
    killed_at: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    coordinator_killed_at: list[float] = field(default_factory=list)

    async def run(self) -> None:
        victims = ["coordinator"] * self.coordinator_kills + ["agent"] * self.agent_kills
        self.rng.shuffle(victims)
        span = range(self.load.count // 20, self.load.count * 9 // 10)
        for point, victim in zip(sorted(self.rng.sample(span, len(victims))), victims, strict=True):
            while self.load.read < point:
                await asyncio.sleep(0.005)
            if victim == "coordinator":
                assert self.mesh.coordinator_process is not None
                await self.mesh.coordinator_process.kill()
                self.coordinator_killed_at.append(time.time())
                await self.mesh.restart_coordinator()
            else:
                await self.kill_agent(self.rng.choice(AGENTS))

    async def kill_agent(self, agent_id: str) -> None:
        await self.mesh.agents[agent_id].kill()
        self.killed_at[agent_id].append(time.time())
        await self.start_agent(agent_id)

    async def start_agent(self, agent_id: str) -> None:
        await self.mesh.agent(agent_id, slots=8, prefetch=8, wait=False)

    def explains(self, item: Item, earlier: Fact, later: Fact) -> bool:
        """Whether a second start had to be."""
        if item.request.fail_code and earlier.attempt <= item.request.fail_attempts:
            return True
        died = self.killed_at[earlier.agent_id]
        if any(earlier.time_s <= at <= later.time_s for at in died):
            return True
        # It began before it was acknowledged, and the acknowledgement never came: repeated as another task.
        return item.repeated and any(
            earlier.time_s <= at <= later.time_s for at in self.coordinator_killed_at
        )


def second_starts(load: Load, ledger: Ledger, chaos: Chaos) -> int:
    """Starts of what had started already and was not to be retried, each of them explained; their number."""
    starts: dict[str, list[Fact]] = defaultdict(list)
    for fact in ledger.facts("start"):
        starts[fact.text].append(fact)
    assert len(starts) == load.count
    again = 0
    for item in load.items:
        for earlier, later in pairwise(starts[item.request.text]):
            assert chaos.explains(item, earlier, later), (item, earlier, later, dict(chaos.killed_at))
            again += not item.request.fail_code
    return again


async def together(work: Awaitable[None], chaos: Awaitable[None]) -> None:
    async with asyncio.TaskGroup() as group:
        for each in (work, chaos):
            group.create_task(_awaited(each))


async def _awaited(work: Awaitable[None]) -> None:
    await work


async def storm(
    mesh: MeshHarness, durability: str, count: int, agent_kills: int, coordinator_kills: int
) -> None:
    seed = int(os.environ.get("WEFT_SEED") or random.SystemRandom().getrandbits(32))
    print(f"WEFT_SEED={seed}")
    rng = random.Random(seed)
    await mesh.coordinator(durability=durability)
    ledger = mesh.ledger()
    load = Load(mesh, rng, count, ledger.path)
    chaos = Chaos(mesh, load, rng, agent_kills, coordinator_kills)
    for agent_id in AGENTS:
        await chaos.start_agent(agent_id)
    await mesh.wait_serving()

    started_at = time.monotonic()
    await together(load.run(callers=2), chaos.run())
    took_s = time.monotonic() - started_at

    await load.read_again()
    await mesh.restart_coordinator()
    await load.read_again()
    await load.nothing_else()
    again = second_starts(load, ledger, chaos)
    print(
        f"{count} tasks, {load.called} of them transparent calls, durability {durability}, in {took_s:.1f} s:"
        f" {agent_kills} agents and {coordinator_kills} coordinators killed, 0 tasks and 0 results lost,"
        f" {again} second starts ({again * 1_000_000 // count} a million)"
    )


async def test_nothing_acknowledged_is_lost(mesh: MeshHarness) -> None:
    await storm(mesh, "process", count=5000, agent_kills=4, coordinator_kills=3)


async def test_nothing_acknowledged_is_lost_at_full_durability(mesh: MeshHarness) -> None:
    await storm(mesh, "full", count=1000, agent_kills=1, coordinator_kills=2)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("durability", ["process", "full"])
async def test_nothing_acknowledged_is_lost_in_a_long_storm(mesh: MeshHarness, durability: str) -> None:
    await storm(mesh, durability, count=30_000, agent_kills=25, coordinator_kills=15)
