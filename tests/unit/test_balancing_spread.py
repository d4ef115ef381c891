"""How evenly load is spread over a large fleet: many clients that know only their own calls and what trailers tell.

Simulated in one process, on the rules as they are: 200 real servers and 50 real clients would measure the machine instead.

What is bounded is the load over the run. At one instant chance alone sets agents further apart (20 calls on each on the
average, and up to 33), and nobody could prevent that: what a client knows of an agent is older than a call takes, since each
of its calls reaches one agent of 200. But knowing must not make it worse, as it would if clients ran after each other.
"""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass
from statistics import fmean

import pytest

from tests.support.hosts import METHOD, agent
from weft.rpc.balancing import least_connections, weighted
from weft.rpc.balancing.connection import Connection
from weft.rpc.balancing.endpoint import Endpoint, EndpointMethod
from weft.rpc.balancing.policy import Moment, Policy
from weft.rpc.balancing.pool import SHARE_OF_NEWEST
from weft.rpc.balancing.speed import Pace
from weft.rpc.balancing.subset import subset

AGENTS, CLIENTS, SLOTS = 200, 50, 64
# Calls that each client keeps under way.
CONCURRENCY = 80
CALLS = 100_000
SERVICE_S = 0.05


class Client:
    """One client's view of the fleet."""

    def __init__(self, policy: Policy, seed: int, subset_size: int) -> None:
        ends = [
            Endpoint(agent(str(n), slots=SLOTS), Connection("127.0.0.1:1"), 0.0, 0.0) for n in range(AGENTS)
        ]
        self.members = subset(
            [end.hosted[METHOD] for end in ends], lambda h: h.endpoint.address, seed, subset_size
        )
        self.pace = Pace()
        self.draw = random.Random(seed).random
        self._policy = policy
        self._turn = seed

    def pick(self, now: float) -> EndpointMethod:
        self._turn += 1
        hosted = self._policy(self.members, Moment(now, self._turn, self.draw, self.pace.seconds))
        hosted.endpoint.in_flight += 1
        return hosted

    def ended(self, hosted: EndpointMethod, used_slots: int, now: float, took_s: float) -> None:
        hosted.endpoint.reported(used_slots, now)
        hosted.endpoint.in_flight -= 1
        typical_s = self.pace.seconds
        hosted.pace.measured(took_s, now, typical_s)
        self.pace.measured(took_s, now, typical_s, SHARE_OF_NEWEST)


@dataclass
class Spread:
    """The busiest agent against the mean one."""

    # By calls, and by calls under way over the whole run.
    calls: float
    busy: float
    # By calls under way at one instant; the mean of many.
    instant: float


def simulate(policy: Policy, subset_size: int = AGENTS) -> Spread:
    """Closed loops."""
    draws = random.Random(7)
    clients = [Client(policy, seed, subset_size) for seed in range(CLIENTS)]
    used, calls, busy_s = [0] * AGENTS, [0] * AGENTS, [0.0] * AGENTS
    number = itertools.count()
    ends: list[tuple[float, int, Client, EndpointMethod, float]] = []
    instants: list[float] = []

    def start(client: Client, now: float) -> None:
        hosted = client.pick(now)
        place = int(hosted.endpoint.agent_id)
        used[place] += 1
        calls[place] += 1
        takes_s = draws.expovariate(1.0 / SERVICE_S)
        heapq.heappush(ends, (now + takes_s, next(number), client, hosted, takes_s))

    for client in clients:
        for _ in range(CONCURRENCY):
            # Not all in the same instant.
            start(client, draws.random() * SERVICE_S)
    now = 0.0
    for done in range(CALLS):
        now, _, client, hosted, takes_s = heapq.heappop(ends)
        place = int(hosted.endpoint.agent_id)
        client.ended(hosted, used[place], now, takes_s)
        busy_s[place] += takes_s
        used[place] -= 1
        start(client, now)
        if done % 500 == 0:
            instants.append(max(used) / fmean(used))
    return Spread(max(calls) / fmean(calls), max(busy_s) / fmean(busy_s), fmean(instants))


@pytest.mark.slow
@pytest.mark.parametrize("subset_size", [AGENTS, 100])
def test_load_is_even_over_200_agents_and_50_clients(subset_size: int) -> None:
    spread = simulate(least_connections.choose, subset_size)
    assert max(spread.calls, spread.busy) <= 1.3, spread
    chance = simulate(weighted.choose, subset_size)
    assert spread.instant <= 1.05 * chance.instant, (spread, chance)
