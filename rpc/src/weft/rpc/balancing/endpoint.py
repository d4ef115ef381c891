"""An endpoint: one process of an agent with its direct server, in the numbers that the rules read.

The numbers come from the snapshot and from this client's own calls (their count and duration, the load that their trailers
report). No I/O; time is an argument. `connection.py` has the channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from weft.rpc.balancing import fleet_snapshot, reported_load, slow_start, speed
from weft.rpc.balancing.connection import Connection
from weft.rpc.balancing.outliers import Record
from weft.v1 import fleet_pb2

# An agent that refuses all calls (it stops, say) gets none for so long. By then the next snapshot tells its state.
TURNED_AWAY_S = 1.0


class Endpoint:
    """One process of an agent. An agent that restarted or changed its address is a new endpoint."""

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
        "suspect",
        "warm_at",
        "window_s",
    )

    def __init__(self, agent: fleet_pb2.Agent, connection: Connection, now: float, window_s: float) -> None:
        self.agent_id = agent.id
        self.address = agent.advertised_address
        self.connection = connection
        # The length of its slow start, and its end.
        self.window_s = window_s
        self.warm_at = now + window_s
        # Slots used by this client's own calls. A stream counts until it ends.
        self.in_flight = 0
        # Slots used by others' work at the last report, and the time of that report.
        self.others = 0.0
        self.reported_at = now
        # For an endpoint that has left the fleet: set when its last call has ended.
        self.emptied: asyncio.Event | None = None
        # Whether its connection broke, and no call has succeeded since.
        self.lost = False
        self.record = Record()
        self.hosted: dict[str, EndpointMethod] = {}
        self.apply(agent, now)

    def apply(self, agent: fleet_pb2.Agent, now: float) -> None:
        """Take the agent's record in the newest snapshot."""
        self.agent = agent
        self.active = fleet_snapshot.takes_calls(agent)
        self.suspect = fleet_snapshot.may_take_calls(agent)
        self.slots = max(1, agent.slots)
        costs = fleet_snapshot.hosted_methods(agent)
        # A method that stays keeps its measurements.
        self.hosted = {name: self.hosted.get(name) or EndpointMethod(self, name) for name in costs}
        for name, cost in costs.items():
            self.hosted[name].cost = cost
        # A trailer's report is newer than the snapshot's, and it matches this client's own count of calls.
        if now - self.reported_at >= reported_load.TRAILER_HOLDS_S or self.in_flight == 0:
            self.reported(agent.used_slots + agent.load.backlog_slots, now)

    def reported(self, used_slots: float, now: float) -> None:
        """Take the agent's report of its used slots. A trailer's report comes with an own call, which must still be counted."""
        self.others = reported_load.others(used_slots, self.in_flight)
        self.reported_at = now

    def load(self, now: float) -> float:
        """Slots used there: by own calls, and by others' work as far as the last report still counts."""
        if not self.others:
            return self.in_flight
        return self.in_flight + reported_load.faded(self.others, now - self.reported_at)

    def warmth(self, now: float) -> float:
        """The factor of the slow start."""
        return 1.0 if now >= self.warm_at else slow_start.factor(self.warm_at - now, window_s=self.window_s)


def callable_now(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Those that take calls. If the sessions of all of them have broken at once, as by a new token, those that this process is
    still connected to: their agents will be back in a moment, and their ports are there."""
    ready = grpc.ChannelConnectivity.READY
    return [each for each in endpoints if each.active] or [
        each for each in endpoints if each.suspect and each.connection.state() is ready
    ]


class EndpointMethod:
    """One method at one endpoint. Policies choose among these."""

    __slots__ = ("cost", "endpoint", "method", "pace", "refuses_until")

    def __init__(self, endpoint: Endpoint, method: str) -> None:
        self.endpoint = endpoint
        self.method = method
        # Slots that one call takes.
        self.cost = 1
        self.pace = speed.Pace()
        # Until then it gets no calls, because it said that it takes none.
        self.refuses_until = 0.0

    def weight(self, now: float) -> float:
        """Its weight relative to others: its slots, and less while it is new."""
        endpoint = self.endpoint
        return endpoint.slots if now >= endpoint.warm_at else endpoint.slots * endpoint.warmth(now)

    def score(self, now: float, typical_s: float) -> float:
        """Its load with one more call, divided by its weight. The lowest score is the best."""
        weight = self.weight(now) * self.pace.factor(now, typical_s)
        return (self.endpoint.load(now) + self.cost) / weight
