"""Refusals of sticky sessions."""

from __future__ import annotations

from weft.rpc.errors import Aborted, LimitReached, NotFound
from weft.v1 import errors_pb2 as pb


def sticky_session_lost(key: str, service: str, agent_id: str, what: str) -> Aborted:
    """The process that had a hard session is gone. `what`: what became of the agent, such as "has left"."""
    return Aborted(
        f"the sticky session {key!r} of {service} is lost: its agent {agent_id} {what}, and what it remembered is gone; end the session"
        f" (weft sessions end {service} KEY --session-mode hard) or take another key, and begin anew",
        reason=pb.ERROR_REASON_STICKY_SESSION_LOST,
        metadata={"session": key, "service": service, "agent": agent_id},
    )


def too_many_sticky_sessions(limit: int) -> LimitReached:
    """A hard session cannot begin, because there are as many as may be."""
    return LimitReached(
        f"there are {limit} sticky sessions, the most that are allowed, so that no hard one can begin: end some (weft sessions), or give them a"
        " shorter idle time",
        reason=pb.ERROR_REASON_TOO_MANY_STICKY_SESSIONS,
        metadata={"limit": str(limit)},
    )


def sticky_session_not_found(key: str, service: str) -> NotFound:
    """No session has the key."""
    return NotFound(
        f"no sticky session of {service} has the key {key!r} in this mode; `weft sessions list` shows those that there are",
        reason=pb.ERROR_REASON_STICKY_SESSION_NOT_FOUND,
        metadata={"session": key, "service": service},
    )
