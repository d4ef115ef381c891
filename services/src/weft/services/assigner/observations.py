"""What the assigner looks at: agents, queues, statistics, and the run times of ended tasks, as values for the rules."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weft.client import Mesh, TaskState
from weft.client.agent_snapshot import AgentInfo, AgentState
from weft.services.assigner.forecast_rules import FreeTimes, RunTimes, Server

# Runs at an agent that make a mean of its own.
ENOUGH_RUNS = 2


@dataclass(frozen=True, slots=True)
class MethodFacts:
    """What is known of one method.

    Args:
        agents: those that host it and take work now.
        queued: its queued tasks.
        run: None: nobody has measured it.
        by_agent: how long its tasks take, on average, at agents where enough have run.
        sampled: how many ended tasks were read.
    """

    method: str
    agents: Sequence[AgentInfo]
    queued: int
    run: RunTimes | None
    by_agent: Mapping[str, float]
    sampled: int

    def servers(
        self, labels: Mapping[str, str], resources: Mapping[str, float], unknown_s: float
    ) -> list[Server]:
        """The agents that can run a task with these requirements."""
        mean_s = self.run.mean_s if self.run is not None else unknown_s
        return [
            Server(
                each.id,
                each.slots,
                each.used_slots,
                each.methods[self.method],
                self.by_agent.get(each.id, mean_s),
            )
            for each in self.agents
            if labels.items() <= {**each.labels, "agent.id": each.id}.items()
            and all(each.resources.get(name, 0.0) >= amount for name, amount in resources.items())
            and each.methods[self.method] <= each.slots
        ]


async def facts_of(mesh: Mesh, method: str, sample_tasks: int) -> MethodFacts:
    """Ask the mesh about a method."""
    agents = [
        each
        for each in await mesh.fleet.agents(method)
        if each.state is AgentState.ACTIVE and method in each.methods and method not in each.unavailable
    ]
    queued = sum(each.queued for each in await mesh.fleet.queues(method))
    measured = next((each.run for each in (await mesh.stats(method)).methods if each.method == method), None)
    runs: dict[str, list[float]] = {}
    if sample_tasks:
        ended = mesh.tasks.list(method=method, states=[TaskState.SUCCEEDED], limit=sample_tasks)
        async for task in ended:
            if task.started_at is not None and task.finished_at is not None:
                took_s = (task.finished_at - task.started_at).total_seconds()
                runs.setdefault(task.agent_id, []).append(max(0.0, took_s))
    every = sorted(took_s for each in runs.values() for took_s in each)
    run: RunTimes | None = None
    if every:
        run = RunTimes(every[len(every) // 10], statistics.fmean(every), every[-1 - len(every) // 20])
    elif measured is not None and measured.p50_s is not None and measured.p90_s is not None:
        run = RunTimes(measured.p50_s / 2, measured.p50_s, measured.p90_s)
    by_agent = {name: statistics.fmean(each) for name, each in runs.items() if len(each) >= ENOUGH_RUNS}
    return MethodFacts(method, agents, queued, run, by_agent, len(every))


async def others_queued(mesh: Mesh, method: str, servers: Sequence[Server]) -> int:
    """Queued tasks of other methods that these agents host, too."""
    ids = {each.agent_id for each in servers}
    hosted = {name for agent in await mesh.fleet.agents() if agent.id in ids for name in agent.methods}
    queues = await mesh.fleet.queues()
    return sum(each.queued for each in queues if each.method != method and each.method in hosted)


def slots_of(agents: Mapping[str, AgentInfo], left_s: Mapping[str, float]) -> dict[str, FreeTimes]:
    """The slots of agents: free ones now, used ones after the time that running tasks still have."""
    return {
        name: FreeTimes(
            sorted(
                0.0 if at < each.slots - each.used_slots else left_s.get(name, 0.0)
                for at in range(each.slots)
            )
        )
        for name, each in agents.items()
    }
