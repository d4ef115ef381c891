"""What a snapshot of the fleet says of an agent: whether it takes direct calls, and of which methods. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from weft.v1 import fleet_pb2

# One process at one place. A restart changes the instance, and must not inherit what was seen of the process before.
Key = tuple[str, str, str]


def key(agent: fleet_pb2.Agent) -> Key:
    return agent.id, agent.instance_id, agent.advertised_address


def takes_calls(agent: fleet_pb2.Agent) -> bool:
    """Whether it takes direct calls at all."""
    return (
        agent.state == fleet_pb2.AGENT_STATE_ACTIVE
        and bool(agent.advertised_address)
        and agent.direct_state != fleet_pb2.DIRECT_STATE_UNREACHABLE
    )


def why_not(agent: fleet_pb2.Agent, method: str) -> str:
    """Why an agent that hosts a method takes no direct calls of it now; empty: it does, or does not host it."""
    if not any(hosted.name == method for hosted in agent.methods):
        return ""
    if not agent.advertised_address:
        return "takes no direct calls"
    if agent.state != fleet_pb2.AGENT_STATE_ACTIVE:
        return f"is {fleet_pb2.AgentState.Name(agent.state).removeprefix('AGENT_STATE_')}"
    if agent.direct_state == fleet_pb2.DIRECT_STATE_UNREACHABLE:
        return f"cannot be reached: {agent.direct_problem or agent.advertised_address}"
    return "" if method in hosted_methods(agent) else "takes no calls of it now"


def has_service(agents: Iterable[fleet_pb2.Agent], service: str) -> bool:
    """Whether an agent hosts any method of a service, called directly or not."""
    return any(hosted.name.rpartition("/")[0] == service for agent in agents for hosted in agent.methods)


def hosted_methods(agent: fleet_pb2.Agent) -> dict[str, int]:
    """The methods that it takes calls of now, with the slots that one call takes."""
    return {method.name: method.slot_cost or 1 for method in agent.methods if not method.unavailable}
