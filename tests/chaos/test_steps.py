"""Handlers with steps, under kills of their agents and coordinators: each task ends right, and no step is taken twice but by a process that was
killed within it.

WEFT_SEED repeats a run.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.deployments import Deployment, embedded, redis
from tests.support.mesh import MeshHarness
from tests.support.soak import soak
from tests.support.stepping import KINDS, METHOD
from weft.client import Mesh, TaskState, connect
from weft.rpc.errors import RetryLater, WeftError

AGENTS = 3
END_S = 90.0


class Chain:
    """Tasks whose handlers take steps, the kills while they run, and the verdict."""

    def __init__(self, meshes: Sequence[MeshHarness], rng: random.Random, *, tasks: int, steps: int) -> None:
        self._meshes = meshes
        self._rng = rng
        self._tasks, self._steps = tasks, steps
        self._ledger = meshes[0].folder / "steps.ledger"
        self._killed: set[int] = set()
        self._targets = ",".join(mesh.target for mesh in meshes)
        self.kills = 0

    async def start_agent(self, number: int) -> None:
        await self._meshes[0].agent(
            f"a{number}",
            slots=2,
            program="tests.support.stepping:agent",
            target=self._targets,
            env={"WEFT_STEPS_LEDGER": str(self._ledger)},
            wait=False,
        )

    async def kill(self) -> None:
        """Kill -9 an agent or a coordinator, and start it again."""
        if self._rng.random() < 0.6:
            number = self._rng.randrange(AGENTS)
            process = self._meshes[0].agents[f"a{number}"]
            self._killed.add(process.pid)
            await process.kill()
            await self.start_agent(number)
        else:
            await self._rng.choice(self._meshes).restart_coordinator()
        self.kills += 1

    async def run(self, duration_s: float) -> None:
        await asyncio.gather(*map(self.start_agent, range(AGENTS)))
        async with connect(self._targets, patience_s=END_S) as mesh:
            await asyncio.gather(*(each.wait_serving("steps.v1.Chain") for each in self._meshes))
            handles = [
                await mesh.tasks.submit(METHOD, request_of(self._steps), request_id=f"chain-{n}")
                for n in range(self._tasks)
            ]
            signals = asyncio.create_task(self._signal(mesh, [handle.id for handle in handles]))
            ends_at_s = time.monotonic() + duration_s
            while time.monotonic() < ends_at_s:
                await asyncio.sleep(self._rng.uniform(0.1, 1.5))
                await self.kill()
            await signals
            for handle in handles:
                try:
                    task = await mesh.tasks.ended(handle.id, END_S)
                except WeftError as error:
                    stuck = await mesh.tasks.get(handle.id)
                    recorded = [step.name async for step in mesh.tasks.steps(handle.id)]
                    pytest.fail(f"{error}: {stuck.proto}, {recorded[-6:]}")
                else:
                    assert task.state is TaskState.SUCCEEDED, task.error()
                    assert total_of(task.response) == sum(range(self._steps))
            self._judge([handle.id for handle in handles])

    async def _signal(self, mesh: Mesh, task_ids: Sequence[str]) -> None:
        """Send each signal, in the order of its steps for each task, again until it is stored."""
        numbers = [n for n in range(self._steps) if KINDS[n % len(KINDS)] == "signal"]
        for n in numbers:
            for task_id in self._rng.sample(task_ids, len(task_ids)):
                while True:
                    try:
                        await mesh.tasks.signal(task_id, "go", n, signal_id=str(n))
                        break
                    except RetryLater:
                        await asyncio.sleep(0.1)
                    except WeftError as error:
                        pytest.fail(f"signal {n}: {error}: {(await mesh.tasks.get(task_id)).proto}")
                await asyncio.sleep(self._rng.uniform(0.0, 0.1))

    def _judge(self, task_ids: Sequence[str]) -> None:
        taken: dict[tuple[str, str], list[int]] = defaultdict(list)
        for line in self._ledger.read_text().splitlines():
            task_id, step, pid = line.split()
            taken[task_id, step].append(int(pid))
        for task_id in task_ids:
            for n in range(self._steps):
                kind = KINDS[n % len(KINDS)]
                if kind in ("sleep", "signal"):
                    continue
                pids = taken[task_id, f"local-{n}" if kind == "local" else f"child-{n}"]
                assert pids, (task_id, n)
                if kind != "local":
                    # A task: it may have begun a moment before it was durable, when its coordinator died.
                    continue
                again = [pid for pid in pids[:-1] if pid not in self._killed]
                assert not again, f"step {n} of {task_id} was taken again after process {again}, which lived"
        twice = sum(len(pids) - 1 for pids in taken.values())
        print(f"{self.kills} kills: {len(taken)} steps, {twice} taken twice by the deaths of their agents")


def request_of(steps: int) -> bytes:
    from google.protobuf import json_format, struct_pb2

    return json_format.ParseDict({"steps": steps}, struct_pb2.Struct()).SerializeToString()


def total_of(response: bytes) -> int:
    from google.protobuf import struct_pb2

    return int(struct_pb2.Struct.FromString(response)["total"])


async def run(
    meshes: Sequence[MeshHarness], duration_s: float, *, tasks: int, steps: int, seed: int | None = None
) -> None:
    if seed is None:
        seed = int(os.environ.get("WEFT_SEED") or random.SystemRandom().getrandbits(31))
    print(f"WEFT_SEED={seed}")
    chain = Chain(meshes, random.Random(seed), tasks=tasks, steps=steps)
    await chain.run(duration_s)
    assert chain.kills >= 2


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("deployment", [pytest.param(embedded, marks=soak), redis])
async def test_kills_take_no_step_twice(tmp_path: Path, deployment: Deployment) -> None:
    async with deployment(tmp_path) as meshes:
        await run(meshes, 10.0, tasks=8, steps=20)
