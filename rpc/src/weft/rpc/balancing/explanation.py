"""Why an endpoint is chosen: what was known of each, as the choice sees it."""

from __future__ import annotations

from dataclasses import dataclass

from weft.rpc.balancing.endpoint import EndpointMethod
from weft.rpc.balancing.pool import standing


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint at the moment of a choice."""

    agent_id: str
    address: str
    # Slots' worth of this client's own calls.
    in_flight: int
    # Slots' worth of others' work, as last reported and faded since.
    reported_load: float
    # Capacity in slots.
    weight: float
    # What the weight is multiplied with: while it is new, and when it is slow.
    slow_start: float
    speed: float
    connected: bool
    ejected: bool
    # Own and reported load with one call more, by weight: the least is the best.
    score: float
    # It may be chosen.
    available: bool
    chosen: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """A choice: what the next call of the method would get, if nothing changes before."""

    method: str
    policy: str
    candidates: tuple[Candidate, ...]
    # The agents that host the method and take no direct calls of it, by id, and why.
    left_out: dict[str, str]
    # Id of the agent; empty: there is none to choose.
    chosen: str
    # Less than half could be chosen: ejected ones may be, too.
    panic: bool


def candidate(
    hosted: EndpointMethod, now: float, typical_s: float, available: bool, chosen: bool
) -> Candidate:
    """How an endpoint looks to the rules now."""
    endpoint = hosted.endpoint
    stands = standing(hosted, now)
    return Candidate(
        agent_id=endpoint.agent_id,
        address=endpoint.address,
        in_flight=endpoint.in_flight,
        reported_load=endpoint.load(now) - endpoint.in_flight,
        weight=float(endpoint.slots),
        slow_start=endpoint.warmth(now),
        speed=hosted.pace.factor(now, typical_s),
        connected=stands.connected,
        ejected=stands.ejected,
        score=hosted.score(now, typical_s),
        available=available,
        chosen=chosen,
    )
