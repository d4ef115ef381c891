"""Reads an agent's record in a snapshot of the fleet: whether the agent takes direct calls, and of which methods. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator

from weft.rpc import errors, refusals
from weft.rpc.enum_names import enum_name
from weft.v1 import fleet_pb2

# One process at one address. A restart changes the instance id: the new process must not inherit the old one's measurements.
Key = tuple[str, str, str, str]

# An error names this many agents, with the reason why each takes no direct calls.
TOLD_AGENTS = 3


def key(agent: fleet_pb2.Agent) -> Key:
    return agent.id, agent.instance_id, agent.advertised_address, agent.tls_name


def as_dialled(agents: Iterable[fleet_pb2.Agent], *, secured: bool) -> Iterator[fleet_pb2.Agent]:
    """The agents as this process can reach them: one that it must not dial, by the TLS of both, is unreachable.

    Args:
        secured: whether this process verifies certificates.
    """
    for agent in agents:
        # Without TLS on both sides there is nothing to see to.
        if (secured or agent.tls_name) and agent.advertised_address:
            from weft.rpc.network.agent_ports import tls_problem

            problem = tls_problem(agent.advertised_address, agent.tls_name, secured=secured)
            if problem:
                seen = fleet_pb2.Agent()
                seen.CopyFrom(agent)
                seen.direct_state, seen.direct_problem = fleet_pb2.DIRECT_STATE_UNREACHABLE, problem
                yield seen
                continue
        yield agent


def takes_calls(agent: fleet_pb2.Agent) -> bool:
    """Whether the agent takes direct calls at all."""
    return agent.state == fleet_pb2.AGENT_STATE_ACTIVE and _has_port(agent)


def may_take_calls(agent: fleet_pb2.Agent) -> bool:
    """Whether the agent's session broke a moment ago: its port may well take calls."""
    return agent.state == fleet_pb2.AGENT_STATE_SUSPECT and _has_port(agent)


def _has_port(agent: fleet_pb2.Agent) -> bool:
    return bool(agent.advertised_address) and agent.direct_state != fleet_pb2.DIRECT_STATE_UNREACHABLE


def why_not(agent: fleet_pb2.Agent, method: str) -> str:
    """Why an agent that hosts a method takes no direct calls of it now. Empty: it takes them, or does not host the method."""
    if not any(hosted.name == method for hosted in agent.methods):
        return ""
    if not agent.advertised_address:
        return "takes no direct calls"
    if agent.state != fleet_pb2.AGENT_STATE_ACTIVE:
        return f"is {enum_name(fleet_pb2.AgentState, agent.state, 'AGENT_STATE_')}"
    if agent.direct_state == fleet_pb2.DIRECT_STATE_UNREACHABLE:
        return f"cannot be reached: {agent.direct_problem or agent.advertised_address}"
    return "" if method in hosted_methods(agent) else "takes no calls of it now"


def left_out(agents: Iterable[fleet_pb2.Agent], method: str) -> dict[str, str]:
    """The agents that host a method but take no direct calls of it: agent id -> reason."""
    reasons = ((agent.id, why_not(agent, method)) for agent in agents)
    return {agent_id: why for agent_id, why in reasons if why}


def no_agent(agents: Collection[fleet_pb2.Agent], method: str) -> errors.WeftError:
    """The error of a call of a method that no agent takes."""
    reasons = left_out(agents, method)
    service = method.rpartition("/")[0]
    if not reasons and has_service(agents, service):
        # As a gRPC server answers for a method that it does not have.
        return refusals.method_unknown(
            f"no agent that hosts {service} has {method}", method=method, called=True
        )
    if reasons:
        told = [f"{agent_id} {why}" for agent_id, why in itertools.islice(reasons.items(), TOLD_AGENTS)]
        if len(reasons) > TOLD_AGENTS:
            told.append(f"and {len(reasons) - TOLD_AGENTS} more")
        message = f"no agent takes direct calls of {method} now: {'; '.join(told)}"
    else:
        message = f"no agent hosts {method}"
    return refusals.no_agent(message, metadata={"method": method, "agents": str(len(reasons))})


def has_service(agents: Iterable[fleet_pb2.Agent], service: str) -> bool:
    """Whether any agent hosts a method of a service, also one that takes no direct calls."""
    return any(hosted.name.rpartition("/")[0] == service for agent in agents for hosted in agent.methods)


def hosted_methods(agent: fleet_pb2.Agent) -> dict[str, int]:
    """The methods of which the agent takes calls now, each with the slots that one call costs."""
    return {method.name: method.slot_cost or 1 for method in agent.methods if not method.unavailable}


def unknown_fleet(waited_s: float) -> errors.Unavailable:
    """The error of a call for which no snapshot came in time."""
    return refusals.no_agent(f"the agents are not known: no coordinator named them within {waited_s:g} s")
