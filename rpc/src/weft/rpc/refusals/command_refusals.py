"""Refusals of commands to agents."""

from __future__ import annotations

from weft.rpc.errors import DeadlineExceeded, FailedPrecondition, Unavailable, Unimplemented
from weft.v1 import errors_pb2 as pb

_KEY = "agent_id"


def command_unknown(agent_id: str) -> Unimplemented:
    """An agent does not know a command."""
    return Unimplemented(
        f"agent {agent_id!r} does not know this command: update weft there, or end its process by other means",
        reason=pb.ERROR_REASON_COMMAND_UNKNOWN,
        metadata={_KEY: agent_id},
    )


def command_refused(agent_id: str, why: str) -> FailedPrecondition:
    """An agent cannot carry a command out; `why` is the rest of the message."""
    return FailedPrecondition(
        f"agent {agent_id!r} cannot do this: {why}",
        reason=pb.ERROR_REASON_COMMAND_REFUSED,
        metadata={_KEY: agent_id},
    )


def command_not_answered(agent_id: str, timeout_s: float) -> DeadlineExceeded:
    """An agent has not answered in time."""
    return DeadlineExceeded(
        f"agent {agent_id!r} has not answered within {timeout_s:g} s; it may still carry the command out. Its process may be stopped, or"
        " code that holds Python's lock keeps it from answering: ask again with more time, or look at the process itself",
        reason=pb.ERROR_REASON_COMMAND_NOT_ANSWERED,
        metadata={_KEY: agent_id},
    )


def agent_not_connected(agent_id: str, *, told: bool = False) -> Unavailable:
    """An agent is known and not connected; `told`: its connection was lost after it was given the command."""
    what = (
        "lost its connection before it answered; it may have carried the command out"
        if told
        else "is not connected"
    )
    return Unavailable(
        f"agent {agent_id!r} {what}; give the command again when it is back (`weft agents list`)",
        reason=pb.ERROR_REASON_AGENT_NOT_CONNECTED,
        metadata={_KEY: agent_id},
    )
