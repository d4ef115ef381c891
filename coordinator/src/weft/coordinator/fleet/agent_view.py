"""The description of an agent that is connected here, made from its session. Pure.

Discovery needs the facts that change seldom (`described`). A list of agents also shows each agent's load (`load_of`).
"""

from __future__ import annotations

from weft.coordinator.sessions.agent_session import AgentSession
from weft.coordinator.sessions.hello import describe
from weft.rpc.times import duration, timestamp
from weft.v1 import fleet_pb2


def described(session: AgentSession) -> fleet_pb2.Agent:
    """The agent's identity, methods and state, without its load."""
    agent = describe(session.hello)
    agent.epoch = session.owner.epoch
    agent.state = _state(session)
    agent.desired_state = session.desired
    agent.direct_state = session.direct_state
    agent.direct_problem = session.direct_problem
    outcomes = session.outcomes
    agent.failing = outcomes.failing
    if outcomes.failing and outcomes.told is not None:
        agent.ejection.CopyFrom(outcomes.told)
    for method in agent.methods:
        method.unavailable = session.is_unavailable(method.name)
        if (cost := session.cost(method.name)) > 1:
            method.slot_cost = cost
    return agent


def load_of(session: AgentSession, now_s: float, silent_s: float) -> fleet_pb2.Agent:
    """The agent's load alone, to merge into its description.

    Args:
        now_s: seconds since the epoch.
        silent_s: for how long the agent has been silent.
    """
    outcomes = session.outcomes
    agent = fleet_pb2.Agent(
        used_slots=session.busy_slots,
        in_flight=len(session.held),
        overrun_slots=session.report.overrun_slots,
        overrun_methods=session.report.overrun_methods,
        load=session.report.load,
        heartbeat_round_trip=session.report.round_trip,
        connect_time=timestamp(session.connected_at_s),
        last_seen_time=timestamp(now_s - silent_s),
        resource_use=session.resources.use(),
        slow_methods=[
            fleet_pb2.SlowMethod(
                method=method,
                attempt_time=duration(outcomes.paces[method].seconds),
                typical_time=duration(outcomes.typical[method]),
            )
            for method in outcomes.slow
        ],
    )
    if session.host_detail is not None and not agent.load.HasField("detail"):
        agent.load.detail.CopyFrom(session.host_detail)
    return agent


def _state(session: AgentSession) -> fleet_pb2.AgentState:
    if session.draining or session.desired == fleet_pb2.DESIRED_STATE_DRAINING:
        return fleet_pb2.AGENT_STATE_DRAINING
    if session.desired == fleet_pb2.DESIRED_STATE_PAUSED:
        return fleet_pb2.AGENT_STATE_PAUSED
    return fleet_pb2.AGENT_STATE_ACTIVE
