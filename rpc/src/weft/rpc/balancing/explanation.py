"""Explains a choice: the facts about each endpoint that the choice uses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from weft.rpc.balancing import fleet_snapshot
from weft.rpc.balancing.endpoint import EndpointMethod
from weft.rpc.balancing.policy import Moment, Policy
from weft.rpc.balancing.pool import EndpointPool, standing
from weft.v1 import fleet_pb2


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint at the moment of a choice."""

    agent_id: str
    address: str
    # Slots used by this client's own calls.
    in_flight: int
    # Slots used by others' work, as last reported. It counts less with the report's age.
    reported_load: float
    # Total slots.
    weight: float
    # Factors of the weight: below 1 while the endpoint is new, or when it is slow.
    slow_start: float
    speed: float
    connected: bool
    ejected: bool
    # Own and reported load with one more call, divided by the weight. The lowest score is the best.
    score: float
    # Whether the endpoint may be chosen.
    available: bool
    chosen: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """The endpoint for the next call of the method, if nothing changes before, and the facts behind the choice."""

    method: str
    policy: str
    candidates: tuple[Candidate, ...]
    # The agents that host the method but take no direct calls of it: agent id -> reason.
    left_out: dict[str, str]
    # Id of the chosen agent. Empty: no agent can be chosen.
    chosen: str
    # Less than half of the endpoints could be chosen, so ejected ones may be chosen too.
    panic: bool


def candidate(
    hosted: EndpointMethod, now: float, typical_s: float, available: bool, chosen: bool
) -> Candidate:
    """An endpoint as the rules see it now."""
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


def explained(
    method: str,
    policy: str,
    choose: Policy,
    pool: EndpointPool,
    moment: Moment,
    fleet: Collection[fleet_pb2.Agent],
) -> Explanation:
    """The choice that would be made at a moment, of a method's pool."""
    found = pool.availability(moment.now)
    among = [pool.members[index] for index in found.indices]
    chosen = choose(among, moment) if among else None
    return Explanation(
        method=method,
        policy=policy,
        candidates=tuple(
            candidate(hosted, moment.now, moment.typical_s, hosted in among, hosted is chosen)
            for hosted in pool.members
        ),
        left_out=fleet_snapshot.left_out(fleet, method),
        chosen=chosen.endpoint.agent_id if chosen else "",
        panic=found.panic,
    )
