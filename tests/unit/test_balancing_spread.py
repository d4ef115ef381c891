"""How evenly load is spread over a large fleet: many clients that know only their own calls and what trailers tell.

Simulated in one process, on the rules as they are: 200 real servers and 50 real clients would measure the machine instead.
"""

from __future__ import annotations

import heapq
import itertools
import random
from statistics import fmean

import pytest

from tests.unit.test_balancing_rules import METHOD, agent
from weft.rpc.balancing import least_connections
from weft.rpc.balancing.connection import Connection
from weft.rpc.balancing.endpoint import Endpoint, Hosted
from weft.rpc.balancing.policy import Moment
from weft.rpc.balancing.pool import SHARE_OF_NEWEST
from weft.rpc.balancing.speed import Pace
from weft.rpc.balancing.subset import subset

AGENTS, CLIENTS, SLOTS = 200, 50, 64
# Calls that each client keeps under way.
CONCURRENCY = 80
CALLS = 60_000
SERVICE_S = 0.05


class Client:
    """One client's view of the fleet."""

    def __init__(self, seed: int, subset_size: int) -> None:
        ends = [
            Endpoint(agent(str(n), slots=SLOTS), Connection("127.0.0.1:1"), 0.0, 0.0) for n in range(AGENTS)
        ]
        members = subset(
            [end.hosted[METHOD] for end in ends], lambda h: h.endpoint.address, seed, subset_size
        )
        self.members = members
        self.pace = Pace()
        self.draw = random.Random(seed).random

    def pick(self, now: float, turn: int) -> Hosted:
        hosted = least_connections.choose(self.members, Moment(now, turn, self.draw, self.pace.seconds))
        hosted.endpoint.in_flight += 1
        return hosted

    def ended(self, hosted: Hosted, used_slots: int, now: float, took_s: float) -> None:
        hosted.endpoint.reported(used_slots, now)
        hosted.endpoint.in_flight -= 1
        typical_s = self.pace.seconds
        hosted.pace.measured(took_s, now, typical_s)
        self.pace.measured(took_s, now, typical_s, SHARE_OF_NEWEST)


def simulate(subset_size: int = AGENTS) -> tuple[list[int], list[float]]:
    """Closed loops. Returns the calls that each agent got, and its mean number of calls under way."""
    draws = random.Random(7)
    clients = [Client(seed, subset_size) for seed in range(CLIENTS)]
    used, calls, busy_s = [0] * AGENTS, [0] * AGENTS, [0.0] * AGENTS
    number = itertools.count()
    ends: list[tuple[float, int, Client, Hosted, float]] = []

    def start(client: Client, now: float) -> None:
        hosted = client.pick(now, next(number))
        place = int(hosted.endpoint.agent_id)
        used[place] += 1
        calls[place] += 1
        takes_s = draws.expovariate(1.0 / SERVICE_S)
        busy_s[place] += takes_s
        heapq.heappush(ends, (now + takes_s, next(number), client, hosted, takes_s))

    for client in clients:
        for _ in range(CONCURRENCY):
            # Not all in the same instant.
            start(client, draws.random() * SERVICE_S)
    now = 0.0
    for _ in range(CALLS):
        now, _, client, hosted, takes_s = heapq.heappop(ends)
        place = int(hosted.endpoint.agent_id)
        client.ended(hosted, used[place], now, takes_s)
        used[place] -= 1
        start(client, now)
    return calls, [busy / now for busy in busy_s]


@pytest.mark.parametrize("subset_size", [AGENTS, 100])
def test_load_is_even_over_200_agents_and_50_clients(subset_size: int) -> None:
    calls, busy = simulate(subset_size)
    assert max(calls) / fmean(calls) <= 1.3
    assert max(busy) / fmean(busy) <= 1.3
