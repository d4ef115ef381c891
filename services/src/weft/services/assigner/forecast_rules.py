"""The rules of the assigner: when slots become free, when a task starts, and which agent each task of a batch gets. Pure: all times are seconds from now.

slots of each agent, each with the time at which it is free ─► queued tasks take the first ones ─► the next one is the task's start
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# Queued tasks that are placed one by one; more are reckoned by their number.
MAX_PLACED = 5_000


@dataclass(frozen=True, slots=True)
class RunTimes:
    """How long attempts of a method take: most not less than `low_s`, `mean_s` on average, most not more than `high_s`."""

    low_s: float
    mean_s: float
    high_s: float


@dataclass(frozen=True, slots=True)
class Server:
    """An agent that can run a task.

    Args:
        cost: slots of one task.
        mean_s: how long a task takes there, on average.
    """

    agent_id: str
    slots: int
    used_slots: int
    cost: int
    mean_s: float

    @property
    def places(self) -> int:
        """How many of the tasks it runs at a time."""
        return self.slots // self.cost

    @property
    def free_places(self) -> int:
        """How many could start now."""
        return max(0, self.slots - self.used_slots) // self.cost


def start_after(servers: Sequence[Server], ahead: int, scale: float, left: float) -> float:
    """When a task starts that has others ahead of it; infinity: never.

    Args:
        scale: what run times are multiplied by.
        left: the share of its run time that a running task still has.
    """
    free = [
        (0.0 if place < server.free_places else server.mean_s * scale * left, server.mean_s * scale)
        for server in servers
        for place in range(server.places)
    ]
    if not free:
        return math.inf
    rounds = 0.0
    if ahead > MAX_PLACED:
        # All slots together end so many tasks each second.
        per_s = sum(1.0 / max(run_s, 1e-6) for _, run_s in free)
        rounds, ahead = (ahead - MAX_PLACED) / per_s, MAX_PLACED
    heapq.heapify(free)
    for _ in range(ahead):
        at_s, run_s = free[0]
        heapq.heapreplace(free, (at_s + run_s, run_s))
    return free[0][0] + rounds


@dataclass(frozen=True, slots=True)
class Range:
    """When a task starts."""

    earliest_s: float
    likely_s: float
    latest_s: float


def forecast(servers: Sequence[Server], run: RunTimes, ahead: int, others: int, *, first: bool) -> Range:
    """When a task of these servers starts.

    Args:
        run: of the method, over all agents; the servers have their own means.
        ahead: queued tasks of the method.
        others: queued tasks of other methods that need the same slots.
        first: it has a higher priority than usual: it may come before all of them.
    """
    mean_s = max(run.mean_s, 1e-6)
    earliest_s = start_after(servers, 0 if first else ahead, run.low_s / mean_s, 0.0)
    likely_s = start_after(servers, 0 if first else ahead + others, 1.0, 0.5)
    latest_s = start_after(servers, ahead + others, run.high_s / mean_s, 1.0)
    return Range(min(earliest_s, likely_s), likely_s, max(latest_s, likely_s))


# -- a batch ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlannedWork:
    """A task to be placed.

    Args:
        run_s: how long it takes, by the agents that can run it.
        cost: slots that it takes, by agent.
        deadline_s: when it must have ended; infinity: at any time.
    """

    name: str
    run_s: Mapping[str, float]
    cost: Mapping[str, int]
    priority: int = 5
    deadline_s: float = math.inf


@dataclass(frozen=True, slots=True)
class PlannedPlace:
    """Where and when a task runs. `agent_id` empty: nowhere."""

    name: str
    agent_id: str
    start_s: float = math.inf
    end_s: float = math.inf
    in_time: bool = False
    # What the second best agent would have made of it; infinity: there is none.
    next_best_s: float = math.inf


@dataclass(slots=True)
class FreeTimes:
    """The slots of an agent: when each is free."""

    free_at_s: list[float] = field(default_factory=list)

    def start_of(self, cost: int) -> float:
        """When so many of them are free."""
        return self.free_at_s[cost - 1] if 0 < cost <= len(self.free_at_s) else math.inf

    def take(self, cost: int, until_s: float) -> None:
        """Use so many of them until then."""
        self.free_at_s[:cost] = [until_s] * cost
        self.free_at_s.sort()


def assign(work: Sequence[PlannedWork], slots: Mapping[str, FreeTimes]) -> list[PlannedPlace]:
    """PlannedPlace each task at the agent where it ends first, in the order of deadlines, then priorities, then the longest first.

    Args:
        slots: of each agent; they are used up.
    """
    places: list[PlannedPlace] = []
    order = sorted(
        work,
        key=lambda each: (each.deadline_s, -each.priority, -min(each.run_s.values(), default=0.0), each.name),
    )
    for each in order:
        ends = []
        for agent_id, run_s in each.run_s.items():
            start_s = slots[agent_id].start_of(each.cost[agent_id])
            ends.append((start_s + run_s, start_s, agent_id))
        ends.sort()
        if not ends or math.isinf(ends[0][0]):
            places.append(PlannedPlace(each.name, ""))
            continue
        end_s, start_s, agent_id = ends[0]
        slots[agent_id].take(each.cost[agent_id], end_s)
        next_best_s = ends[1][0] if len(ends) > 1 else math.inf
        places.append(
            PlannedPlace(each.name, agent_id, start_s, end_s, end_s <= each.deadline_s, next_best_s)
        )
    return sorted(places, key=lambda each: (each.start_s, each.end_s, each.name))
