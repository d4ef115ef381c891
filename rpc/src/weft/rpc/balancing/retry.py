"""Decides whether a failed call may be retried on another endpoint: if it cannot have run, or if it may run twice, by its
caller's mark or by its method's contract. Pure.

A call cannot have been run if it was never sent (no connection, or a connection that was closing), or if the agent itself says
that it refused the call. A server's answer has trailers; gRPC's own errors have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from weft.rpc import errors
from weft.rpc.calls.metadata import RETRY_MARK
from weft.v1 import errors_pb2

# The most attempts of one call, including the first.
MAX_ATTEMPTS = 5

# How gRPC's message begins when a call never reached the server.
_NEVER_SENT = ("failed to connect to all addresses", "GOAWAY received")
# For these reasons an agent refuses the next call as well.
_LASTING_REFUSALS = frozenset(
    errors.reason_name(reason)
    for reason in (
        errors_pb2.ERROR_REASON_STOPPING,
        errors_pb2.ERROR_REASON_METHOD_NOT_HOSTED,
        errors_pb2.ERROR_REASON_APP_UNAVAILABLE,
        errors_pb2.ERROR_REASON_CALLERS_UNKNOWN,
    )
)
_OVERLOADED = errors.reason_name(errors_pb2.ERROR_REASON_OVERLOADED)
_REFUSALS = _LASTING_REFUSALS | {_OVERLOADED}
_CODES = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED}
)


def is_marked(metadata: Iterable[tuple[str, Any]]) -> bool:
    """Whether the caller says that its call may run twice."""
    return any((key, value) == RETRY_MARK for key, value in metadata)


def elsewhere(
    code: grpc.StatusCode, details: str, trailers: Any, agent_id: str, may_run_twice: Callable[[], bool]
) -> bool:
    """Whether a call may be retried on another endpoint, if the caller has received nothing of it."""
    if code not in _CODES:
        return False
    if code is grpc.StatusCode.UNAVAILABLE and (never_sent(details, trailers) or may_run_twice()):
        return True
    return _refusal(trailers, agent_id) in _REFUSALS


def was_full(trailers: Any, agent_id: str) -> bool:
    """Whether the agent refused the call because all its slots were used."""
    return _refusal(trailers, agent_id) == _OVERLOADED


def turned_away(code: grpc.StatusCode, trailers: Any, agent_id: str) -> bool:
    """Whether the agent refused the call for a reason that holds for the next call too."""
    return code in _CODES and _refusal(trailers, agent_id) in _LASTING_REFUSALS


def connection_lost(code: grpc.StatusCode, trailers: Any) -> bool:
    """Whether gRPC in this process ended the call, not a server."""
    return code is grpc.StatusCode.UNAVAILABLE and not trailers


def never_sent(details: str, trailers: Any) -> bool:
    return not trailers and details.startswith(_NEVER_SENT)


def _refusal(trailers: Any, agent_id: str) -> str:
    """Why the agent itself refused the call. Empty: it did not.

    A handler may pass on the refusal of another agent, which has that agent's id.
    """
    for key, value in trailers or ():
        if key == errors.STATUS_DETAILS_KEY:
            try:
                info = errors.error_info(status_pb2.Status.FromString(value))
            except DecodeError:
                return ""
            ours = info is not None and info.domain == errors.DOMAIN
            if info is None or not ours or info.metadata.get("agent", agent_id) != agent_id:
                return ""
            return info.reason
    return ""
