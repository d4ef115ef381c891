"""An endpoint: one process of an agent with its direct server, in the numbers that the rules read.

Numbers only: what is known of it (from the snapshot), and what this client has seen of it (its own calls, the load that
trailers report). No I/O; time is an argument. `connection.py` has its channel.
"""

from __future__ import annotations

import asyncio

from weft.rpc.balancing import fleet_snapshot, reported_load, slow_start, speed
from weft.rpc.balancing.connection import Connection
from weft.rpc.balancing.outliers import Record
from weft.v1 import fleet_pb2

# Who refuses calls for good is asked no more for so long: by then discovery tells how it stands.
TURNED_AWAY_S = 1.0


class Endpoint:
    """One process of an agent. A restarted agent, or one that moved, is a new endpoint."""

    __slots__ = (
        "active",
        "address",
        "agent",
        "agent_id",
        "connection",
        "emptied",
        "hosted",
        "in_flight",
        "lost",
        "others",
        "record",
        "reported_at",
        "slots",
        "warm_at",
        "window_s",
    )

    def __init__(self, agent: fleet_pb2.Agent, connection: Connection, now: float, window_s: float) -> None:
        self.agent_id = agent.id
        self.address = agent.advertised_address
        self.connection = connection
        # How long its slow start is, and when that is over.
        self.window_s = window_s
        self.warm_at = now + window_s
        # Slots' worth of this client's own calls; a stream counts until it ends.
        self.in_flight = 0
        # Slots' worth of everybody else's work there, when it was last told, and when that was.
        self.others = 0.0
        self.reported_at = now
        # Of one that has left: its last call has ended.
        self.emptied: asyncio.Event | None = None
        # Its connection broke, and no call has ended well since.
        self.lost = False
        self.record = Record()
        self.hosted: dict[str, EndpointMethod] = {}
        self.apply(agent, now)

    def apply(self, agent: fleet_pb2.Agent, now: float) -> None:
        """What the newest snapshot says of it."""
        self.agent = agent
        self.active = fleet_snapshot.takes_calls(agent)
        self.slots = max(1, agent.slots)
        costs = fleet_snapshot.hosted_methods(agent)
        # What was measured stays.
        self.hosted = {name: self.hosted.get(name) or EndpointMethod(self, name) for name in costs}
        for name, cost in costs.items():
            self.hosted[name].cost = cost
        # A trailer is fresher, and it knows which calls are ours.
        if now - self.reported_at >= reported_load.TRAILER_HOLDS_S or self.in_flight == 0:
            self.reported(agent.used_slots, now)

    def reported(self, used_slots: float, now: float) -> None:
        """It says how many slots are taken; its word comes with a call of ours that is still counted."""
        self.others = reported_load.others(used_slots, self.in_flight)
        self.reported_at = now

    def load(self, now: float) -> float:
        """Slots' worth of work there: our own, and what is believed of others'."""
        if not self.others:
            return self.in_flight
        return self.in_flight + reported_load.faded(self.others, now - self.reported_at)

    def warmth(self, now: float) -> float:
        """The slow start's factor."""
        return 1.0 if now >= self.warm_at else slow_start.factor(self.warm_at - now, window_s=self.window_s)


class EndpointMethod:
    """A method at an endpoint: what is chosen among."""

    __slots__ = ("cost", "endpoint", "method", "pace", "refuses_until")

    def __init__(self, endpoint: Endpoint, method: str) -> None:
        self.endpoint = endpoint
        self.method = method
        # Slots that one call takes.
        self.cost = 1
        self.pace = speed.Pace()
        # It said that it takes no calls.
        self.refuses_until = 0.0

    def weight(self, now: float) -> float:
        """Its share relative to others: capacity, less while it is new."""
        endpoint = self.endpoint
        return endpoint.slots if now >= endpoint.warm_at else endpoint.slots * endpoint.warmth(now)

    def score(self, now: float, typical_s: float) -> float:
        """How loaded it would be with one call more; the least is the best."""
        weight = self.weight(now) * self.pace.factor(now, typical_s)
        return (self.endpoint.load(now) + self.cost) / weight
