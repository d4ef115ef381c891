"""Refusals of handlers and agents, their contracts and their sessions."""

from __future__ import annotations

from weft.rpc.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unknown,
)
from weft.v1 import errors_pb2 as pb


def handler_failed(method: str) -> Unknown:
    """A handler raised an exception. Callers do not get its text."""
    return Unknown(
        f"the handler of {method} raised an exception; the agent's log has it",
        reason=pb.ERROR_REASON_HANDLER_FAILED,
    )


def isolated_process_died() -> Unavailable:
    """The process of an isolated handler ended before the handler."""
    return Unavailable(
        "the isolated process that ran the handler died", reason=pb.ERROR_REASON_ISOLATED_PROCESS_DIED
    )


def app_unavailable(service: str, agent_id: str) -> Unavailable:
    """The app behind a sidecar takes no calls."""
    return Unavailable(
        f"the app behind this agent does not serve {service} now",
        reason=pb.ERROR_REASON_APP_UNAVAILABLE,
        metadata={"service": service, "agent": agent_id},
    )


def no_agent(message: str, metadata: dict[str, str] | None = None) -> Unavailable:
    """No agent takes direct calls of a method now; or no agent could run a task, which went on at its fallback."""
    return Unavailable(message, reason=pb.ERROR_REASON_NO_AGENT, metadata=metadata)


def no_agent_matches(message: str, method: str, requirements: str, agents: int) -> FailedPrecondition:
    """No connected agent can run a task that is not to wait for one; `agents`: that host its method."""
    return FailedPrecondition(
        message,
        reason=pb.ERROR_REASON_NO_AGENT_MATCHES,
        metadata={"method": method, "requirements": requirements, "agents": str(agents)},
    )


def agent_not_found(agent_id: str) -> NotFound:
    """No agent has the id."""
    return NotFound(
        f"no agent has the id {agent_id!r}; `weft agents list` shows those that are known",
        reason=pb.ERROR_REASON_AGENT_NOT_FOUND,
        metadata={"agent_id": agent_id},
    )


def agent_id_in_use(agent_id: str) -> AlreadyExists:
    """Another live process is connected as this agent."""
    return AlreadyExists(
        f"another live process is connected as agent {agent_id!r}; give this one another id, or stop the other",
        reason=pb.ERROR_REASON_AGENT_ID_IN_USE,
        metadata={"agent_id": agent_id},
        retry_after_s=1.0,
    )


def contract_incompatible(message: str, method: str, field: str) -> FailedPrecondition:
    """An agent's contract is not compatible with the contract in force."""
    return FailedPrecondition(
        message,
        reason=pb.ERROR_REASON_CONTRACT_INCOMPATIBLE,
        metadata={"method": method, "field": field},
    )


def options_conflict(message: str, method: str, option: str, agent_id: str) -> Unavailable:
    """An agent's contract has other task policies than that of another connected agent. The agent dials again."""
    return Unavailable(
        message,
        reason=pb.ERROR_REASON_OPTIONS_CONFLICT,
        metadata={"method": method, "option": option, "agent": agent_id},
    )


def contract_invalid(message: str, field: str | None = None) -> InvalidArgument:
    """Descriptors are not a valid contract."""
    return InvalidArgument(message, reason=pb.ERROR_REASON_CONTRACT_INVALID, field=field)


def session_protocol(message: str) -> FailedPrecondition:
    """A message on a session breaks the protocol."""
    return FailedPrecondition(message, reason=pb.ERROR_REASON_SESSION_PROTOCOL)


def session_lost(message: str) -> Unavailable:
    """A session is over because its agent was silent, or its lease has passed. The agent dials again."""
    return Unavailable(message, reason=pb.ERROR_REASON_SESSION_LOST)


def session_superseded() -> Aborted:
    """A session is over because the same agent has opened another."""
    return Aborted("a newer session of this agent took over", reason=pb.ERROR_REASON_SESSION_SUPERSEDED)
