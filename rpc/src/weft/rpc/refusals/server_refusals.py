"""Refusals of servers and connections: what is full, stops, or cannot be reached."""

from __future__ import annotations

from google.rpc.error_details_pb2 import ErrorInfo

from weft.rpc.errors import (
    DOMAIN,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    LimitReached,
    Overloaded,
    Unavailable,
    reason_name,
)
from weft.v1 import errors_pb2 as pb

# After so long, a bound that is reached may have room again.
RETRY_AFTER_S = 5.0
# After so long, a coordinator that stops may have a successor.
STOPPING_RETRY_S = 1.0


def overloaded(
    message: str, retry_after_s: float = RETRY_AFTER_S, metadata: dict[str, str] | None = None
) -> Overloaded:
    """A bound is reached: of calls, streams, tasks, sessions or slots."""
    return Overloaded(
        message, reason=pb.ERROR_REASON_OVERLOADED, metadata=metadata, retry_after_s=retry_after_s
    )


def limit_reached(message: str, metadata: dict[str, str]) -> LimitReached:
    """A run limit refuses a task."""
    return LimitReached(message, reason=pb.ERROR_REASON_LIMIT_REACHED, metadata=metadata)


def stopping(message: str, retry_after_s: float | None = STOPPING_RETRY_S) -> Unavailable:
    """A coordinator or an agent takes no new work, because it stops."""
    return Unavailable(message, reason=pb.ERROR_REASON_STOPPING, retry_after_s=retry_after_s)


def audit_off() -> FailedPrecondition:
    """A coordinator keeps no audit that could be read from it."""
    return FailedPrecondition(
        "this coordinator keeps no audit in its store: start it with --tokens on or --audit-log FILE, and audit_keep_s above 0",
        reason=pb.ERROR_REASON_AUDIT_OFF,
    )


def store_unavailable(message: str, retry_after_s: float) -> Unavailable:
    """The store cannot be reached or written."""
    return Unavailable(message, reason=pb.ERROR_REASON_STORE_UNAVAILABLE, retry_after_s=retry_after_s)


def unreachable(message: str) -> Unavailable:
    """A coordinator does not answer, or ended a stream before its end."""
    return Unavailable(message, reason=pb.ERROR_REASON_UNREACHABLE)


def call_deadline(message: str) -> DeadlineExceeded:
    """The caller's deadline passed before the answer. The work may be done, or may go on."""
    return DeadlineExceeded(message, reason=pb.ERROR_REASON_CALL_DEADLINE)


def internal(message: str) -> Internal:
    """A fault of weft. The message says which log has the rest."""
    return Internal(message, reason=pb.ERROR_REASON_INTERNAL)


def metadata_left_out(left_out: str, limit_bytes: int) -> ErrorInfo:
    """The status detail of a handler's error whose metadata was cut, because it was over the limit."""
    return ErrorInfo(
        reason=reason_name(pb.ERROR_REASON_METADATA_LEFT_OUT),
        domain=DOMAIN,
        metadata={"left_out": left_out, "limit_bytes": str(limit_bytes)},
    )
