"""The row of pools: kills of everything that a pool consists of, while its members have work, and the verdict.

members, their keeper, coordinators ◄── killed, one or several at a time, by chance while members stand still or the keeper hangs

not whole    the pool does not have as many members as it should have, all ready, or runs others
lost         a task that was acknowledged and has no result
left         a process of a member, or of what it had started, when the pool was deleted
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from probe.v1 import probe_pb2_grpc
from probe.v1.probe_pb2 import ProbeRequest
from tests.chaos.harness.run import Outcome
from tests.support.mesh import MeshHarness
from tests.support.pooled import PROBE, PooledMachine, pooled, stands
from tests.support.processes import until
from weft.client import Mesh, Pool, RetryPolicy, TaskHandle, connect, methods

POOL, SIZE, ROUNDS = "workers", 3, 4
# Of a pool that is not whole: then the run is given up.
WHOLE_S = 60.0
_SUBMITTERS, _PAUSE_S = 2, (0.02, 0.1)


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
    async with asyncio.timeout(WHOLE_S):
        while True:
            pool = await stands(mesh, name, SIZE, within_s=WHOLE_S)
            running = machine.members()
            if {member.id for member in pool.members} == set(running.values()):
                return pool
            await asyncio.sleep(0.05)


class Work:
    """Tasks of the members: submitted until `end`, which counts those without a result."""

    def __init__(self, mesh: Mesh, rng: random.Random) -> None:
        self._mesh, self._rng = mesh, rng
        self.handles: list[TaskHandle[Any]] = []
        self._submitting = [asyncio.create_task(self._submit(f"{number}")) for number in range(_SUBMITTERS)]

    async def _submit(self, name: str) -> None:
        probe, number = methods(probe_pb2_grpc.ProbeServiceStub), 0
        while True:
            number += 1
            request = ProbeRequest(text=f"{name}/{number}", sleep_s=self._rng.choice([0.0, 0.05]))
            self.handles.append(
                await self._mesh.tasks.submit(
                    probe.Call, request, request_id=request.text, retry=RetryPolicy(max_crashes=100)
                )
            )
            await asyncio.sleep(self._rng.uniform(*_PAUSE_S))

    async def end(self) -> list[str]:
        """Submit nothing new. Returns what is wrong with the tasks, in words."""
        for task in self._submitting:
            task.cancel()
        await asyncio.gather(*self._submitting, return_exceptions=True)
        ends = await asyncio.gather(
            *(handle.result(timeout_s=WHOLE_S) for handle in self.handles), return_exceptions=True
        )
        return [f"a task was lost: {end!r}" for end in ends if isinstance(end, BaseException)]


async def run_pools(folder: Path, store: str, seed: int, remark: Callable[[str], None]) -> Outcome:
    """Kill in a pool with this seed, on "embedded" or "redis"."""
    rng = random.Random(seed)
    notes: list[str] = []
    slowest_s = 0.0
    async with pooled(folder, store) as (machine, meshes):
        targets = ",".join(mesh.target for mesh in meshes)
        async with connect(targets, patience_s=WHOLE_S, timeout_s=WHOLE_S) as mesh:
            await mesh.pools.create(POOL, PROBE, size=SIZE)
            await healed(mesh, machine, POOL)
            killer, work = Killer(rng, machine, meshes, mesh), Work(mesh, random.Random(f"work {seed}"))
            for _ in range(ROUNDS):
                what, killed_at = await killer.harm()
                await healed(mesh, machine, POOL)
                took_s = time.monotonic() - killed_at
                remark(f"  {what}: whole again after {took_s:.2f} s")
                slowest_s = max(slowest_s, took_s)
            lost = await work.end()
            # While it is deleted, too.
            await mesh.pools.delete(POOL)
            await killer.kill()
            async with asyncio.timeout(WHOLE_S):
                while [pool async for pool in mesh.pools.list()]:
                    await asyncio.sleep(0.05)
            try:
                await machine.wait_empty()
            except TimeoutError:
                notes += [f"left: {member}, process {pid}" for pid, member in machine.members().items()]
    return Outcome(
        seed=seed,
        tasks=len(work.handles),
        lost_tasks=len(lost),
        recovered_s=slowest_s,
        pool_faults=len(notes),
        notes=[*lost, *notes],
    )
