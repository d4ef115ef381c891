"""An agent that is connected here, as others are told of it: made from its session. Pure.

Discovery tells what changes seldom (`described`); a list of agents also shows how busy each is (`with_load`).
"""

from __future__ import annotations

from weft.coordinator.hello import describe
from weft.coordinator.session import Session
from weft.rpc.times import timestamp
from weft.v1 import fleet_pb2


def described(session: Session) -> fleet_pb2.Agent:
    """Who it is, what it hosts, and whether it takes calls."""
    agent = describe(session.hello)
    agent.epoch = session.owner.epoch
    agent.state = _state(session)
    agent.desired_state = session.desired
    agent.direct_state = session.direct_state
    agent.direct_problem = session.direct_problem
    for method in agent.methods:
        method.unavailable = session.is_unavailable(method.name)
    return agent


def with_load(session: Session, now_s: float, silent_s: float) -> fleet_pb2.Agent:
    """The same, and how busy it is.

    Args:
        now_s: seconds since the epoch.
        silent_s: since when it has not been heard.
    """
    agent = described(session)
    agent.used_slots = session.busy_slots
    agent.in_flight = len(session.held)
    agent.load.CopyFrom(session.report.load)
    agent.heartbeat_round_trip.CopyFrom(session.report.round_trip)
    agent.connect_time.CopyFrom(timestamp(session.connected_at_s))
    agent.last_seen_time.CopyFrom(timestamp(now_s - silent_s))
    return agent


def without_load(agent: fleet_pb2.Agent) -> fleet_pb2.Agent:
    """What discovery tells of an agent that another coordinator has described with its load."""
    told = fleet_pb2.Agent()
    told.CopyFrom(agent)
    for name in _LOAD:
        told.ClearField(name)
    return told


_LOAD = (
    "used_slots",
    "in_flight",
    "load",
    "heartbeat_round_trip",
    "connect_time",
    "last_seen_time",
    "stale_results_refused",
)


def _state(session: Session) -> fleet_pb2.AgentState:
    if session.draining or session.desired == fleet_pb2.DESIRED_STATE_DRAINING:
        return fleet_pb2.AGENT_STATE_DRAINING
    if session.desired == fleet_pb2.DESIRED_STATE_PAUSED:
        return fleet_pb2.AGENT_STATE_PAUSED
    return fleet_pb2.AGENT_STATE_ACTIVE
