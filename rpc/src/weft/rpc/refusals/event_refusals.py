"""Refusals of events."""

from __future__ import annotations

from weft.rpc.errors import FailedPrecondition, NotFound
from weft.v1 import errors_pb2 as pb


def event_type_unknown(topic: str) -> NotFound:
    """No contract has the message type."""
    return NotFound(
        f"there is no message type {topic!r} in the contracts that agents have registered: start an agent whose .proto files have it,"
        " or check the name",
        reason=pb.ERROR_REASON_EVENT_TYPE_UNKNOWN,
        metadata={"topic": topic},
    )


def cursor_ahead(topic: str, after: int, last: int) -> FailedPrecondition:
    """The cursor is behind the topic's end."""
    return FailedPrecondition(
        f"the cursor {after} is ahead of {topic}, whose last event is {last}: it is of another mesh, or the store has lost events;"
        " subscribe without a cursor, or with 0 for all kept events",
        reason=pb.ERROR_REASON_CURSOR_AHEAD,
        metadata={"topic": topic, "last": str(last)},
    )
