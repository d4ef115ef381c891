"""Graphs of 20 steps, under kills of the planner, of the agents of their steps, and of coordinators: each ends right, each remembered step ran once unless
its own agent died, nothing is left.

WEFT_SEED repeats a run. Two seeds a store; 50 with TEST_SOAK=1.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from google.protobuf import json_format

from tests.support.deployments import Deployment, embedded, redis
from tests.support.graph_work import Wanted, random_graph
from tests.support.mesh import MeshHarness
from tests.support.soak import SOAKS
from weft.client import Mesh, TaskState, connect
from weft.rpc.errors import WeftError
from weft.services.planner.v1 import planner_pb2

RUN = "weft.services.planner.v1.PlannerService/RunGraph"
WORKERS, PLANNERS = 2, 2
END_S = 120.0
# Graphs that run at the same time.
GRAPHS = 2


class GraphChaos:
    """Graphs that run, the kills meanwhile, and the verdict."""

    def __init__(self, meshes: Sequence[MeshHarness], rng: random.Random) -> None:
        self._meshes = meshes
        self._rng = rng
        self._ledger = meshes[0].folder / "graphs.ledger"
        self._targets = ",".join(mesh.target for mesh in meshes)
        # Processes of workers that were killed, and when coordinators were.
        self._killed: set[int] = set()
        self._blows_s: list[float] = []
        self._pids: set[int] = set()
        self.kills: dict[str, int] = defaultdict(int)

    async def start(self, agent_id: str) -> None:
        worker = agent_id.startswith("worker")
        await self._meshes[0].agent(
            agent_id,
            slots=8,
            program="tests.support.graph_work:agent" if worker else "",
            services="" if worker else "planner",
            target=self._targets,
            env={"WEFT_GRAPHS_LEDGER": str(self._ledger)},
            wait=False,
        )
        self._pids.add(self._meshes[0].agents[agent_id].pid)

    async def kill(self) -> None:
        """Kill -9 an agent or a coordinator, and start it again."""
        kind = self._rng.choice(["worker", "planner", "planner", "coordinator"])
        self.kills[kind] += 1
        if kind == "coordinator":
            self._blows_s.append(time.monotonic())
            await self._rng.choice(self._meshes).restart_coordinator()
            self._blows_s.append(time.monotonic())
            return
        agent_id = f"{kind}{self._rng.randrange(WORKERS if kind == 'worker' else PLANNERS)}"
        process = self._meshes[0].agents[agent_id]
        if kind == "worker":
            self._killed.add(process.pid)
        await process.kill()
        await self.start(agent_id)

    async def run(self) -> None:
        await asyncio.gather(*(self.start(f"worker{n}") for n in range(WORKERS)))
        await asyncio.gather(*(self.start(f"planner{n}") for n in range(PLANNERS)))
        async with connect(self._targets, patience_s=END_S) as mesh:
            for name in ("graphs.v1.Work", RUN.partition("/")[0]):
                await asyncio.gather(*(each.wait_serving(name) for each in self._meshes))
            wanted = [random_graph(self._rng) for _ in range(GRAPHS)]
            requests = [planner_pb2.RunGraphRequest() for _ in wanted]
            for each, request in zip(wanted, requests, strict=True):
                json_format.ParseDict(each.graph, request.graph)
            handles = [
                await mesh.tasks.submit(RUN, request, request_id=f"g{n}")
                for n, request in enumerate(requests)
            ]
            ends = asyncio.gather(*(mesh.tasks.ended(handle.id, END_S) for handle in handles))
            while not ends.done():
                await asyncio.wait([ends], timeout=self._rng.uniform(0.2, 0.8))
                if not ends.done():
                    await self.kill()
            for each, handle in zip(wanted, handles, strict=True):
                await self._judge(mesh, handle.id, each)
            assert not [
                each
                async for each in mesh.tasks.list(
                    states=[TaskState.RUNNING, TaskState.QUEUED, TaskState.SCHEDULED]
                )
            ]
        print(f"kills: {dict(self.kills)}")

    async def _judge(self, mesh: Mesh, run_id: str, wanted: Wanted) -> None:
        task = await mesh.tasks.get(run_id)
        assert task.state is TaskState.SUCCEEDED, task.proto
        response = planner_pb2.RunGraphResponse.FromString(task.response)
        if wanted.total is None:
            assert response.state == planner_pb2.RUN_STATE_FAILED
            assert "it was told to fail" in response.error.message
        else:
            assert response.state == planner_pb2.RUN_STATE_SUCCEEDED, response
            assert response.output.number_value == wanted.total
        ran: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for line in self._ledger.read_text().splitlines():
            run, step, pid, at_s = line.split()
            if run == run_id:
                ran[step].append((int(pid), float(at_s)))
        assert set(ran) == wanted.steps | wanted.undone
        for step, runs in ran.items():
            for (pid, began_s), (_, again_s) in itertools.pairwise(runs):
                # A task may have begun a moment before it was durable, when its coordinator died.
                by_coordinator = any(began_s <= blow_s <= again_s for blow_s in self._blows_s)
                assert pid in self._killed or by_coordinator, f"{step} of {run_id} ran again: {runs}"
        # One task a step: no submission was made twice.
        tasks = [each async for each in mesh.tasks.list(root_id=run_id)]
        assert len({each.request_id for each in tasks}) == len(tasks) == len(ran)

    def left_over(self) -> list[int]:
        """Processes of agents that live."""
        return [
            pid for pid in self._pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"
        ]


@pytest.mark.slow
@pytest.mark.timeout(6000 if SOAKS else 300)
@pytest.mark.parametrize("number", range(25 if SOAKS else 1))
@pytest.mark.parametrize("deployment", [embedded, redis])
async def test_graphs_end_right(tmp_path: Path, deployment: Deployment, number: int) -> None:
    given = os.environ.get("WEFT_SEED")
    seed = int(given) if given else random.SystemRandom().getrandbits(31)
    print(f"WEFT_SEED={seed}")
    async with deployment(tmp_path) as meshes:
        chaos = GraphChaos(meshes, random.Random(seed))
        try:
            await chaos.run()
        except WeftError as error:
            pytest.fail(f"{error}")
    assert chaos.left_over() == []


def test_a_graph_at_random_has_twenty_steps() -> None:
    for seed in range(50):
        wanted = random_graph(random.Random(seed))
        if wanted.total is None:
            assert len(wanted.steps) <= 20
            assert len(wanted.undone) == len(wanted.steps) - 1
        else:
            assert 19 <= len(wanted.steps) <= 20
