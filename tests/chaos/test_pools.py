"""Pools under kills of everything: members, their keeper and coordinators, one or several at a time; a keeper that hangs, and members that stand
still meanwhile. The pool is at its size within 5 s, and in the end no process is left.

`make soak` runs it: 20 seeds on each store, or one by TEST_SEED. On a busy machine, TEST_HEALS_S says how long a pool may take.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.mesh import MeshHarness
from tests.support.pooled import PROBE, PooledMachine, pooled, stands
from tests.support.processes import until
from tests.support.soak import soak
from weft.client import Mesh, Pool, connect

SEEDS = [int(os.environ["TEST_SEED"])] if "TEST_SEED" in os.environ else list(range(1, 21))
POOL, SIZE, ROUNDS = "workers", 3, 4
# An agent of the probe starts further processes.
PLAIN = replace(PROBE, program="tests.support.plain:agent")
# On a machine with other work, a start of members takes longer.
HEALS_S = float(os.environ.get("TEST_HEALS_S", "5"))


class Killer:
    """Kills something by chance."""

    def __init__(
        self, rng: random.Random, machine: PooledMachine, meshes: list[MeshHarness], client: Mesh
    ) -> None:
        self._rng, self._machine, self._meshes, self._client = rng, machine, meshes, client

    async def harm(self) -> tuple[str, float]:
        """Kill, by chance while members stand still or the keeper hangs; returns what it was, and since when the pool can heal."""
        around = self._rng.choice(["", "", "", "frozen", "hangs"])
        if around == "frozen":
            await self._client.pools.pause(POOL, freeze=True)
            # They may be about to.
            await asyncio.sleep(self._rng.uniform(0, 2))
        elif around:
            self._machine.signal_keepers(signal.SIGSTOP)
        what, _ = await self.kill()
        await asyncio.sleep(self._rng.uniform(0, 6) if around == "hangs" else 0)
        self._machine.signal_keepers(signal.SIGCONT)
        if around == "frozen":
            await self._client.pools.resume(POOL)
        return f"{what} {around}".strip(), time.monotonic()

    async def kill(self) -> tuple[str, float]:
        """Kill; returns what it was, and when the last coordinator served again."""
        kinds = self._rng.sample(["member", "members", "keeper", "coordinator"], self._rng.choice([1, 1, 2]))
        killed: list[int] = []
        # A start may be under way, or a look.
        for kind in kinds:
            await asyncio.sleep(self._rng.choice([0.0, self._rng.uniform(0, 0.3)]))
            match kind:
                case "member":
                    killed += self._kill_members(1)
                case "members":
                    killed += self._kill_members(SIZE)
                case "keeper":
                    killed += self._machine.members()
                    self._machine.kill_keepers()
                case _:
                    await self._rng.choice(self._meshes).restart_coordinator()
        at = time.monotonic()
        # They end a moment after their signal, or after their keeper.
        await until(lambda: not self._machine.members().keys() & set(killed), "what was killed has ended")
        return "+".join(kinds), at

    def _kill_members(self, count: int) -> list[int]:
        pids = sorted(self._machine.members())
        chosen = self._rng.sample(pids, min(count, len(pids)))
        for pid in chosen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return chosen


async def healed(mesh: Mesh, machine: PooledMachine, name: str) -> Pool:
    """Wait until the pool is what its provider runs: as many members as it should have, all ready."""
    async with asyncio.timeout(60):
        while True:
            pool = await stands(mesh, name, SIZE, within_s=60)
            running = machine.members()
            if {member.id for member in pool.members} == set(running.values()):
                return pool
            await asyncio.sleep(0.05)


@soak
@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_pool_of_fifty_stands_within_fifteen_seconds(tmp_path: Path) -> None:
    async with pooled(tmp_path) as (machine, (own,)), connect(own.target) as mesh:
        began_at = time.monotonic()
        await mesh.pools.create(POOL, PLAIN, size=50)
        await stands(mesh, POOL, 50, within_s=60)
        took_s = time.monotonic() - began_at
        print(f"50 members stood after {took_s:.1f} s")
        await mesh.pools.delete(POOL)
        await machine.wait_empty(30)
        assert took_s < 3 * HEALS_S


@soak
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("store", ["embedded", "redis"])
async def test_pools_heal_and_leave_nothing(tmp_path: Path, store: str, seed: int) -> None:
    rng = random.Random(seed)
    async with pooled(tmp_path, store) as (machine, meshes):
        async with connect(",".join(mesh.target for mesh in meshes)) as mesh:
            await mesh.pools.create(POOL, PROBE, size=SIZE)
            await healed(mesh, machine, POOL)
            killer, slowest_s = Killer(rng, machine, meshes, mesh), 0.0
            for _ in range(ROUNDS):
                what, killed_at = await killer.harm()
                await healed(mesh, machine, POOL)
                took_s = time.monotonic() - killed_at
                print(f"seed {seed}: {what} healed in {took_s:.2f} s")
                slowest_s = max(slowest_s, took_s)
            # While it is deleted, too.
            await mesh.pools.delete(POOL)
            await killer.kill()
            async with asyncio.timeout(30):
                while [pool async for pool in mesh.pools.list()]:
                    await asyncio.sleep(0.05)
            await machine.wait_empty()
        assert slowest_s < HEALS_S
