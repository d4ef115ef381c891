"""The endpoints of one method, and who of them may be chosen now."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import grpc

from weft.rpc.balancing import speed
from weft.rpc.balancing.availability import Available, EndpointStanding, available
from weft.rpc.balancing.endpoint import Endpoint, EndpointMethod

# How long what was seen of the connections holds: looking costs a microsecond an endpoint.
LOOK_S = 0.05
# While some of them are being made.
LOOK_SOON_S = 0.005
# One endpoint's weight in the time that calls take on the whole.
SHARE_OF_NEWEST = 0.05


class EndpointPool:
    """Made anew with each snapshot; the pace of the method's calls goes on."""

    __slots__ = ("_look_at", "members", "open", "pace", "panic")

    def __init__(self, members: Sequence[EndpointMethod], pace: speed.Pace) -> None:
        self.members = tuple(members)
        # How long a call takes, on the whole.
        self.pace = pace
        self.open: Sequence[EndpointMethod] = ()
        self.panic = False
        self._look_at = 0.0

    def look(self, now: float) -> None:
        """See who may be chosen, unless it was seen a moment ago."""
        if now < self._look_at:
            return
        found = self.availability(now)
        self.open = [self.members[place] for place in found.places]
        self.panic = found.panic
        self._look_at = now + (LOOK_S if found.settled else LOOK_SOON_S)

    def invalidate(self) -> None:
        """Something has changed."""
        self._look_at = 0.0

    def availability(self, now: float) -> Available:
        return available([standing(hosted, now) for hosted in self.members])

    def among(self, tried: Collection[Endpoint], bound: int) -> Sequence[EndpointMethod]:
        """Who may be chosen, without those that were tried and those at their bound."""
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
