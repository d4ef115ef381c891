"""Placement: how many tasks each session may claim in one pass. Pure: an immutable snapshot in, a plan out.

A strategy ranks the candidates. `plan` gives each ready task to the first candidate, and ranks that one again: so a few tasks
spread over many agents, and many tasks fill all of them. `plan_by_rank` does it for strategies that rank by method.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from weft.coordinator.sessions.agent_outcomes import weighted_load
from weft.coordinator.store.rules import QueueKey


# Not frozen: a frozen one costs three times as much to make, and each pass makes several.
@dataclass(slots=True)
class FreeSession:
    """A session with free slots. `used_slots` count the backlog of the agent's program, too; `costs` has the queues that it serves, each
    with the slots of a task; `weight` is below 1 if it is slower than others at one of them."""

    index: int
    free_slots: int
    used_slots: float
    slots: int
    costs: Mapping[QueueKey, int]
    weight: float = 1.0


class Strategy(Protocol):
    """Ranks a candidate: the lowest rank is served first."""

    def rank(self, candidate: FreeSession, given: int) -> float:
        """The candidate's rank after it has got `given` slots in this pass."""
        ...


class LeastConnections:
    """The least loaded first: used slots ÷ slots. Equal candidates take turns, slow ones come last."""

    def rank(self, candidate: FreeSession, given: int) -> float:
        used = candidate.used_slots + given
        if candidate.weight == 1.0:
            return used / candidate.slots
        return weighted_load(used, candidate.slots, candidate.weight)


def plan(
    ready: Mapping[QueueKey, int], candidates: Sequence[FreeSession], strategy: Strategy, turn: int
) -> list[tuple[int, int]]:
    """Limits for the claims of one pass: (candidate index, tasks), each above zero.

    The limits balance only. The claim chooses tasks by priority and age, and may find fewer.
    """
    remaining = dict(ready)
    count = len(candidates)
    heap: list[tuple[float, int, int]] = []
    for position, candidate in enumerate(candidates):
        tie = (position + turn) % count
        heapq.heappush(heap, (strategy.rank(candidate, 0), tie, position))
    given = [0] * count
    limits = [0] * count
    if count == 1:
        # One agent needs no balancing.
        only = candidates[0]
        total = sum(remaining[key] for key in only.costs if key in remaining)
        limit = min(total, only.free_slots)
        return [(only.index, limit)] if limit > 0 else []
    while heap:
        _, tie, position = heapq.heappop(heap)
        candidate = candidates[position]
        queue = _fullest(remaining, candidate, candidate.free_slots - given[position])
        if queue is None:
            continue
        remaining[queue] -= 1
        given[position] += candidate.costs[queue]
        limits[position] += 1
        heapq.heappush(heap, (strategy.rank(candidate, given[position]), tie, position))
    return [(candidate.index, limit) for candidate, limit in zip(candidates, limits, strict=True) if limit]


class Share(NamedTuple):
    """Tasks of one queue for one candidate, by its position."""

    at: int
    queue: QueueKey
    tasks: int


def plan_by_rank(
    ready: Mapping[QueueKey, int],
    candidates: Sequence[FreeSession],
    rank: Callable[[str, int, int], float],
    turn: int,
) -> list[Share] | None:
    """What each candidate gets of each queue. None: there are not slots for all ready tasks; priority and age, which are not known here, must decide.

    Args:
        rank: the rank, by method, position of the candidate, and slots that it got in this pass. It is asked again only when the candidate has got
            something: ranks that fall are seen late.
    """
    count = len(candidates)
    given = [0] * count
    shares: dict[tuple[int, QueueKey], int] = {}
    serving = {key: [at for at, each in enumerate(candidates) if key in each.costs] for key in ready}
    # Queues with few agents first: others must not take their slots.
    for queue in sorted(ready, key=lambda key: len(serving[key])):
        heap = [
            (rank(queue.method, at, given[at]), (at + turn) % count, given[at], at) for at in serving[queue]
        ]
        heapq.heapify(heap)
        left = ready[queue]
        while left:
            if not heap:
                return None
            _, tie, ranked_at, at = heap[0]
            cost = candidates[at].costs[queue]
            if given[at] + cost > candidates[at].free_slots:
                heapq.heappop(heap)
            elif ranked_at != given[at]:
                heapq.heapreplace(heap, (rank(queue.method, at, given[at]), tie, given[at], at))
            else:
                given[at] += cost
                left -= 1
                shares[at, queue] = shares.get((at, queue), 0) + 1
    return [Share(at, queue, tasks) for (at, queue), tasks in shares.items()]


def _fullest(remaining: Mapping[QueueKey, int], candidate: FreeSession, free_slots: int) -> QueueKey | None:
    """The queue with most tasks left, among those for which the candidate has free slots."""
    best: QueueKey | None = None
    most = 0
    for key, cost in candidate.costs.items():
        left = remaining.get(key, 0)
        if left > most and cost <= free_slots:
            best, most = key, left
    return best
