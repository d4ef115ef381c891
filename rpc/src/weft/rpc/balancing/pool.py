"""The pool of a method: its endpoints, and which of them may be chosen now."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import grpc

from weft.rpc.balancing import speed
from weft.rpc.balancing.availability import Available, EndpointStanding, available
from weft.rpc.balancing.endpoint import Endpoint, EndpointMethod

# The connections are looked at this often: a look costs a microsecond for each endpoint.
LOOK_S = 0.05
# The same while some connections are being made.
LOOK_SOON_S = 0.005
# The weight of one call in the typical time of the method's calls.
SHARE_OF_NEWEST = 0.05


class EndpointPool:
    """The endpoints of a method. Each snapshot makes a new pool, which keeps the measured pace of the method's calls."""

    __slots__ = ("_look_at", "members", "open", "pace", "panic")

    def __init__(self, members: Sequence[EndpointMethod], pace: speed.Pace) -> None:
        self.members = tuple(members)
        # How long a call takes, over all endpoints.
        self.pace = pace
        self.open: Sequence[EndpointMethod] = ()
        self.panic = False
        self._look_at = 0.0

    def look(self, now: float) -> None:
        """Find the endpoints that may be chosen, unless the last look was a moment ago."""
        if now < self._look_at:
            return
        found = self.availability(now)
        self.open = [self.members[index] for index in found.indices]
        self.panic = found.panic
        self._look_at = now + (LOOK_S if found.settled else LOOK_SOON_S)

    def invalidate(self) -> None:
        """Look again at the next call: an endpoint has changed."""
        self._look_at = 0.0

    def availability(self, now: float) -> Available:
        return available([standing(hosted, now) for hosted in self.members])

    def among(self, tried: Collection[Endpoint], bound: int) -> Sequence[EndpointMethod]:
        """The endpoints that may be chosen, without the tried ones and those at their bound."""
        return [
            hosted
            for hosted in self.open
            if hosted.endpoint not in tried and hosted.endpoint.in_flight + hosted.cost <= bound
        ]


def standing(hosted: EndpointMethod, now: float) -> EndpointStanding:
    state = hosted.endpoint.connection.state()
    refuses = now < hosted.refuses_until
    return EndpointStanding(
        connected=state is grpc.ChannelConnectivity.READY and not refuses,
        refused=state is grpc.ChannelConnectivity.TRANSIENT_FAILURE or refuses,
        ejected=hosted.endpoint.record.ejected,
    )
