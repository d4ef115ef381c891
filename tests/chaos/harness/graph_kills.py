"""The row of graphs: graphs of 20 steps under kills of the planner, of the agents of their steps, of processes of sandboxes, and of coordinators.

a graph at random ─► a run of the planner ─► its steps, three of them in sandboxes ─► the ledger, and the agents' logs
                              ▲ kills                       ▲ kills

not right    a graph did not end as it must, from what the store says
again        a step ran more than once, though neither its agent, its sandbox nor a coordinator died meanwhile
left         when all agents have been killed: a process, a control group, a mount
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from google.protobuf import json_format

from tests.chaos.harness.run import Outcome
from tests.support.deployments import embedded, redis
from tests.support.graph_work import BOXED, Wanted, random_graph
from tests.support.left_behind import left_of_agents
from tests.support.mesh import MeshHarness
from weft.client import Mesh, TaskHandle, TaskState, connect
from weft.rpc.errors import WeftError
from weft.services.planner.v1 import planner_pb2

RUN = "weft.services.planner.v1.PlannerService/RunGraph"
WORK = "graphs.v1.Work"
WORKERS, PLANNERS, GRAPHS = 2, 2, 2
# Of each victim, in an order by the seed, for as long as a graph runs.
KILLS = ("planner", "planner", "worker", "coordinator", "coordinator", "sandbox", "sandbox", "sandbox")
PAUSE_S = (0.1, 0.9)
END_S = 120.0
# The contract of the planner has rules: on a busy machine, to vet it takes its time.
START_S = 90.0
# Keepers of control groups go a moment after their agents.
GONE_S = 20.0


class Ran(NamedTuple):
    """A run of a step: of which graph's run, where, and when it began."""

    run: str
    step: str
    # An agent's process, or the name of the agent in whose sandbox it was.
    where: str
    at_s: float


class Kill(NamedTuple):
    """A victim, and from when to when it was away: a process by its number, an agent's sandbox by its name, or "coordinator"."""

    victim: str
    from_s: float
    to_s: float


def again(runs: Sequence[Ran], kills: Sequence[Kill]) -> list[str]:
    """Steps that ran more than once for no reason, in words."""
    by_step: dict[tuple[str, str], list[Ran]] = defaultdict(list)
    for each in sorted(runs, key=lambda ran: ran.at_s):
        by_step[each.run, each.step].append(each)
    found = []
    for made in by_step.values():
        for first, second in itertools.pairwise(made):
            # A task may have begun a moment before it was durable, when its coordinator died.
            died = {k.victim for k in kills if first.at_s <= k.to_s and k.from_s <= second.at_s}
            if not died & {first.where, "coordinator"}:
                found.append(f"{first.step} of {first.run} ran again: {first}, {second}; killed: {died}")
    return found


class GraphKills:
    """Graphs that run, the kills meanwhile, and what is wrong then."""

    def __init__(
        self, meshes: Sequence[MeshHarness], rng: random.Random, remark: Callable[[str], None]
    ) -> None:
        self._meshes, self._home = meshes, meshes[0]
        self._rng = rng
        self._remark = remark
        self._ledger = self._home.folder / "graphs.ledger"
        self._targets = ",".join(mesh.target for mesh in meshes)
        self._pids: set[int] = set()
        self.kills: list[Kill] = []
        self.hit: dict[str, int] = defaultdict(int)
        self.faults: list[str] = []

    # -- what runs ------------------------------------------------------------------------------------------------

    async def start(self, agent_id: str) -> None:
        worker = agent_id.startswith("worker")
        await self._home.agent(
            agent_id,
            slots=8,
            program="tests.support.graph_work:agent" if worker else "",
            services="" if worker else "planner",
            target=self._targets,
            env={"WEFT_GRAPHS_LEDGER": str(self._ledger)},
            wait=False,
        )
        self._pids.add(self._home.agents[agent_id].pid)

    async def run(self) -> int:
        """Run graphs under kills; returns how many steps they had."""
        names = [f"worker{n}" for n in range(WORKERS)] + [f"planner{n}" for n in range(PLANNERS)]
        await asyncio.gather(*map(self.start, names))
        async with connect(self._targets, patience_s=END_S) as mesh:
            for name in (WORK, RUN.partition("/")[0]):
                waits = (each.wait_serving(name, timeout_s=START_S) for each in self._meshes)
                await asyncio.gather(*waits)
            wanted = [random_graph(self._rng) for _ in range(GRAPHS)]
            handles = [await _submitted(mesh, each, f"g{n}") for n, each in enumerate(wanted)]
            began_s = time.monotonic()
            ends = asyncio.gather(*(mesh.tasks.ended(handle.id, END_S) for handle in handles))
            try:
                await self._kill_some(ends)
                await ends
            except WeftError as error:
                self.faults.append(f"a graph did not end: {error}")
                return 0
            self._remark(f"  the graphs have ended after {time.monotonic() - began_s:.1f} s")
            await self._judge(mesh, wanted, handles)
        return sum(len(each.steps | each.undone) for each in wanted)

    # -- kills ----------------------------------------------------------------------------------------------------

    async def _kill_some(self, ends: asyncio.Future[Any]) -> None:
        """Kill one after the other, until the graphs have ended."""
        for kind in self._rng.sample(KILLS, len(KILLS)):
            await asyncio.wait([ends], timeout=self._rng.uniform(*PAUSE_S))
            boxes: list[tuple[str, int]] = []
            while kind == "sandbox" and not ends.done() and not (boxes := self._boxed()):
                # A killed worker has not made one yet.
                await asyncio.sleep(0.02)
            if ends.done():
                return
            await self._kill(kind, self._rng.choice(boxes) if boxes else ("", 0))

    async def _kill(self, kind: str, box: tuple[str, int]) -> None:
        """Kill -9, and start it again.

        Args:
            box: a process of a sandbox, after the name of its agent.
        """
        began_s = time.monotonic()
        if kind == "sandbox":
            victim, pid = box
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        elif kind == "coordinator":
            victim = kind
            await self._rng.choice(self._meshes).restart_coordinator()
        else:
            agent_id = f"{kind}{self._rng.randrange(WORKERS if kind == 'worker' else PLANNERS)}"
            process = self._home.agents[agent_id]
            victim = str(process.pid)
            await process.kill()
            # Its sandboxes die with it.
            self.kills.append(Kill(agent_id, began_s, time.monotonic()))
            await self.start(agent_id)
        self.hit[kind] += 1
        self.kills.append(Kill(victim, began_s, time.monotonic()))
        self._remark(f"  {kind} {victim} killed, over after {time.monotonic() - began_s:.2f} s")

    def _boxed(self) -> list[tuple[str, int]]:
        """The processes in and around sandboxes, each with its agent's name."""
        names = [f"worker{n}" for n in range(WORKERS)]
        return [(each, pid) for each in names for pid in _sandboxed(self._home.agents[each].pid)]

    # -- the verdict ----------------------------------------------------------------------------------------------

    def _ran(self) -> list[Ran]:
        found = [
            Ran(run, step, pid, float(at_s))
            for run, step, pid, at_s in map(str.split, self._ledger.read_text().splitlines())
        ]
        for n in range(WORKERS):
            for line in self._home.agents[f"worker{n}"].output().splitlines():
                if line.startswith(BOXED):
                    _, run, step, _, at_s = line.split()
                    found.append(Ran(run, step, f"worker{n}", float(at_s)))
        return found

    async def _judge(self, mesh: Mesh, wanted: Sequence[Wanted], handles: Sequence[TaskHandle]) -> None:
        ran = self._ran()
        for each, handle in zip(wanted, handles, strict=True):
            own = {one.step for one in ran if one.run == handle.id}
            self.faults += await _graph_faults(mesh, handle.id, each, own)
        self.faults += again(ran, self.kills)
        unfinished = [TaskState.RUNNING, TaskState.QUEUED, TaskState.SCHEDULED]
        self.faults += [f"unfinished: {task.id}" async for task in mesh.tasks.list(states=unfinished)]

    async def end(self) -> None:
        """Kill all agents, and look for what they leave."""
        for process in self._home.agents.values():
            if process.alive:
                await process.kill()
        ends_at_s = time.monotonic() + GONE_S
        while left := left_of_agents(self._pids, str(self._ledger)):
            if time.monotonic() > ends_at_s:
                self.faults += [f"left: {each}" for each in left]
                return
            await asyncio.sleep(0.05)


def _sandboxed(agent_pid: int) -> list[int]:
    """The processes of the sandboxes of an agent: bubblewrap's, and those within."""
    found = []
    with contextlib.suppress(psutil.Error):
        for each in psutil.Process(agent_pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any("sandboxed_process" in word for word in each.cmdline()):
                    found.append(each.pid)
    return found


async def _submitted(mesh: Mesh, wanted: Wanted, request_id: str) -> TaskHandle:
    request = planner_pb2.RunGraphRequest()
    json_format.ParseDict(wanted.graph, request.graph)
    return await mesh.tasks.submit(RUN, request, request_id=request_id)


async def _graph_faults(mesh: Mesh, run_id: str, wanted: Wanted, ran: set[str]) -> list[str]:
    """What is wrong with the end of a graph, in words."""
    task = await mesh.tasks.get(run_id)
    if task.state is not TaskState.SUCCEEDED:
        return [f"the run {run_id} could not be ended: {task.proto}"]
    response = planner_pb2.RunGraphResponse.FromString(task.response)
    found = []
    if wanted.total is None:
        right = response.state == planner_pb2.RUN_STATE_FAILED and "told to fail" in response.error.message
    else:
        right = response.state == planner_pb2.RUN_STATE_SUCCEEDED and (
            response.output.number_value == wanted.total
        )
    if not right:
        found.append(f"the graph {run_id} should have given {wanted.total}: {response}")
    if ran != wanted.steps | wanted.undone:
        found.append(f"of {run_id} other steps ran: {ran ^ (wanted.steps | wanted.undone)}")
    # No submission was made twice.
    ids = [each.request_id async for each in mesh.tasks.list(root_id=run_id)]
    if len(set(ids)) != len(ids) or len(ids) != len(wanted.steps | wanted.undone):
        found.append(f"{run_id} has {len(ids)} tasks: {sorted(ids)}")
    return found


async def run_graphs(folder: Path, store: str, seed: int, remark: Callable[[str], None]) -> Outcome:
    """Run graphs with this seed, on "embedded" or "redis"."""
    async with (embedded if store == "embedded" else redis)(folder) as meshes:
        kills = GraphKills(meshes, random.Random(seed), remark)
        steps = await kills.run()
        await kills.end()
        remark(f"  {GRAPHS} graphs with {steps} steps, kills: {dict(kills.hit)}")
        if kills.faults:
            remark("\n".join(mesh.logs() for mesh in meshes))
    return Outcome(seed=seed, tasks=steps, graph_faults=len(kills.faults), notes=kills.faults)
