"""Replays a trace of tasks against agents of different speeds, by the coordinator's own plans: least connections, and a placement plug-in.

    python bench/placement_replay.py                  # the traces below, simulated
    python bench/placement_replay.py --trace FILE     # one line a task: {"at_s": 0.5, "method": "Resize", "work_s": 0.2}
    python bench/placement_replay.py --real           # the trace "specialists" on a coordinator and three agents of this machine

Simulated time, real plans: `plan` and `plan_by_rank` are the coordinator's, and so is the knowledge of slow agents that least connections have. A task takes its work × the agent's
factor for the method × noise, which is the same for each placement.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from examples.placement.learned import LearnedPlacement
from weft.coordinator.dispatch.placement import FreeSession, LeastConnections, plan, plan_by_rank
from weft.coordinator.dispatch.placement_plugin import FreeAgent, Placement
from weft.coordinator.sessions.agent_outcomes import AgentOutcomes, weighted_load
from weft.coordinator.store.rules import QueueKey
from weft.rpc.balancing.speed import Pace

SEED = 7
LASTS_S = 300.0


@dataclass(frozen=True)
class TraceTask:
    """A task of a trace."""

    at_s: float
    method: str
    work_s: float
    noise: float = 1.0


@dataclass
class SimulatedAgent:
    """An agent: how many slots it has, by which factor it takes longer, by method, and by how much more when all its slots are used."""

    name: str
    slots: int
    factors: Mapping[str, float]
    # From the middle of the trace on; None: the same.
    later: Mapping[str, float] | None = None
    crowding: float = 0.0
    used: int = 0
    outcomes: AgentOutcomes = field(default_factory=AgentOutcomes)

    def run_s(self, task: TraceTask, now_s: float) -> float:
        """How long a task takes that starts now."""
        factors = self.later if self.later is not None and now_s >= LASTS_S / 2 else self.factors
        crowd = 1.0 + self.crowding * (self.used - 1) / self.slots
        return task.work_s * factors[task.method] * crowd * task.noise


def poisson(per_s: float, methods: Sequence[str], spread: float = 0.2, seed: int = SEED) -> list[TraceTask]:
    """Tasks that come by chance, each with 0.2 s of work on average."""
    rng, now_s, tasks = random.Random(seed), 0.0, list[TraceTask]()
    while (now_s := now_s + rng.expovariate(per_s)) < LASTS_S:
        tasks.append(
            TraceTask(now_s, rng.choice(methods), rng.uniform(0.1, 0.3), rng.lognormvariate(0, spread))
        )
    return tasks


class Replay:
    """One run of a trace. `placement` None: least connections."""

    def __init__(self, agents: Sequence[SimulatedAgent], placement: Placement | None) -> None:
        self._agents, self._placement = agents, placement
        self._told = getattr(placement, "ended", None)
        self._typical: dict[str, Pace] = {}
        self._waiting: list[TraceTask] = []
        self._running: list[tuple[float, int, int, float, TraceTask]] = []
        self._numbers = self._turn = 0
        self.took_s: list[float] = []
        self.now_s = 0.0

    def run(self, trace: Sequence[TraceTask]) -> list[float]:
        """The times from submission to end, in the order of the ends."""
        coming = list(reversed(trace))
        while coming or self._running:
            if self._running and (not coming or self._running[0][0] <= coming[-1].at_s):
                self._end(*heapq.heappop(self._running))
            else:
                self.now_s = coming[-1].at_s
                self._waiting.append(coming.pop())
            while self._waiting and self._pass():
                pass
        return self.took_s

    def _end(self, at_s: float, _: int, where: int, began_s: float, task: TraceTask) -> None:
        self.now_s = at_s
        agent, run_s = self._agents[where], at_s - began_s
        agent.used -= 1
        self.took_s.append(at_s - task.at_s)
        typical = self._typical.setdefault(task.method, Pace())
        agent.outcomes.measured(task.method, run_s, at_s, typical.seconds)
        typical.measured(run_s, at_s, typical.seconds, 0.1)
        if self._told is not None:
            self._told(task.method, agent.name, run_s, True)

    def _pass(self) -> int:
        """Start tasks, as a pass of the dispatcher does; how many."""
        self._turn += 1
        ready: dict[QueueKey, int] = {}
        for task in self._waiting:
            key = QueueKey(task.method)
            ready[key] = ready.get(key, 0) + 1
        free = [at for at, each in enumerate(self._agents) if each.used < each.slots]
        if not free:
            return 0
        if self._placement is not None and len(free) > 1:
            sessions = [self._session(at, ready) for at in free]
            shares = plan_by_rank(
                ready, sessions, lambda m, at, given: self._rank(m, free[at], given), self._turn
            )
            if shares is not None:
                for at, queue, count in shares:
                    self._start(free[at], count, {queue})
                return len(shares)
        # The least loaded ones of each queue, as many as it has tasks: as the index of sessions gives them.
        best: dict[int, set[QueueKey]] = {}
        for key, count in ready.items():
            free.sort(key=lambda at: (self._load(at, key.method), (at + self._turn) % len(self._agents)))
            for at in free[:count]:
                best.setdefault(at, set()).add(key)
        sessions = [self._session(at, keys) for at, keys in best.items()]
        limits = plan(ready, sessions, LeastConnections(), self._turn)
        return sum(self._start(at, limit, best[at]) for at, limit in limits)

    def _load(self, at: int, method: str) -> float:
        agent = self._agents[at]
        return weighted_load(agent.used, agent.slots, agent.outcomes.slow.get(method, 1.0))

    def _session(self, at: int, keys: Mapping[QueueKey, int] | set[QueueKey]) -> FreeSession:
        agent = self._agents[at]
        agent.outcomes.fade(self._typical, self.now_s)
        weight = min(agent.outcomes.slow.get(key.method, 1.0) for key in keys)
        return FreeSession(
            at, agent.slots - agent.used, agent.used, agent.slots, dict.fromkeys(keys, 1), weight
        )

    def _rank(self, method: str, at: int, given: int) -> float:
        agent = self._agents[at]
        assert self._placement is not None
        return self._placement.rank(method, FreeAgent(agent.name, agent.slots, agent.used + given, {}, {}))

    def _start(self, at: int, count: int, keys: set[QueueKey]) -> int:
        """Start the oldest waiting tasks of these queues; how many."""
        agent, started = self._agents[at], 0
        for task in list(self._waiting):
            if started == count:
                break
            if QueueKey(task.method) in keys:
                self._waiting.remove(task)
                agent.used += 1
                started += 1
                self._numbers += 1
                end_s = self.now_s + agent.run_s(task, self.now_s)
                heapq.heappush(self._running, (end_s, self._numbers, at, self.now_s, task))
        return started


# -- the traces -------------------------------------------------------------------------------------------------------

RENDER, INDEX = "Render", "Index"
MANY = [f"Method{number}" for number in range(60)]


def fleets() -> dict[str, list[SimulatedAgent]]:
    """Agents by the name of their trace, new ones each time."""
    same = {RENDER: 1.0, INDEX: 1.0}
    first, second = {RENDER: 1.0, INDEX: 3.0}, {RENDER: 3.0, INDEX: 1.0}
    rng = random.Random(SEED)
    return {
        "equal": [SimulatedAgent(f"e{n}", 4, same) for n in range(3)],
        "specialists": _specialists("s"),
        "one slow": [SimulatedAgent(f"o{n}", 4, {RENDER: n, INDEX: n}) for n in (1, 1.1, 3)],
        "swapped": _specialists("w", later=(second, first, same)),
        "equal, noisy": [SimulatedAgent(f"n{n}", 4, same, crowding=1.0) for n in range(3)],
        "crowded": _specialists("c", crowding=2.0),
        "many methods": [
            SimulatedAgent(f"m{n}", 4, {each: rng.uniform(1, 3) for each in MANY}) for n in range(6)
        ],
    }


def _specialists(
    name: str, later: Sequence[Mapping[str, float] | None] = (None, None, None), crowding: float = 0.0
) -> list[SimulatedAgent]:
    """Two agents that are each quick at one method, and one that is quick at both."""
    factors = ({RENDER: 1.0, INDEX: 3.0}, {RENDER: 3.0, INDEX: 1.0}, {RENDER: 1.0, INDEX: 1.0})
    return [SimulatedAgent(f"{name}{n}", 4, factors[n], later[n], crowding) for n in range(3)]


def figures(took_s: Sequence[float]) -> tuple[float, float, float]:
    """Mean, median and the 95th percentile."""
    cuts = statistics.quantiles(took_s, n=20)
    return statistics.fmean(took_s), statistics.median(took_s), cuts[-1]


def compare(name: str, trace: Sequence[TraceTask]) -> None:
    """Print what both placements make of a trace."""
    plain = figures(Replay(fleets()[name], None).run(trace))
    replay = Replay(fleets()[name], None)
    placement = LearnedPlacement(clock=lambda: replay.now_s)
    replay._placement, replay._told = placement, placement.ended
    learned = figures(replay.run(trace))
    cells = [f"{a * 1000:.0f} → {b * 1000:.0f}" for a, b in zip(plain, learned, strict=True)]
    change = (learned[0] / plain[0] - 1) * 100
    print(f"| {name} | {len(trace) / LASTS_S:.0f} | {' | '.join(cells)} | {change:+.0f} % |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trace", type=Path, help="a trace to replay, instead of those made here")
    parser.add_argument(
        "--fleet", default="specialists", choices=list(fleets()), help="the agents of --trace"
    )
    parser.add_argument("--real", action="store_true", help="run it on a real mesh of this machine")
    given = parser.parse_args()
    if given.real:
        from bench.placement_run import run

        run()
        return
    print(
        "| agents | tasks a second | mean (ms) | median (ms) | p95 (ms) | mean changes by |\n|---|---|---|---|---|---|"
    )
    if given.trace is not None:
        lines = map(json.loads, given.trace.read_text().splitlines())
        compare(given.fleet, [TraceTask(each["at_s"], each["method"], each["work_s"]) for each in lines])
        return
    for name in fleets():
        # The last is near what the agents can do.
        for per_s in (3, 8, 14) if name in {"crowded", "equal, noisy"} else (5, 20, 35):
            methods = MANY if name == "many methods" else (RENDER, INDEX)
            compare(name, poisson(per_s, methods, spread=1.2 if name == "equal, noisy" else 0.2))


if __name__ == "__main__":
    main()
