"""Refusals of events."""

from __future__ import annotations

from weft.rpc.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
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


def filter_invalid(text: str, why: str, field: str) -> InvalidArgument:
    """A filter cannot be used."""
    shown = text if len(text) <= 80 else f"{text[:80]}…"
    return InvalidArgument(
        f"the filter {shown!r} cannot be used: {why}", reason=pb.ERROR_REASON_FILTER_INVALID, field=field
    )


def filter_unavailable(install: str) -> FailedPrecondition:
    """The package for filters is not installed."""
    return FailedPrecondition(
        f"this coordinator cannot evaluate filters of events: install what they need ({install}), or leave the filter out",
        reason=pb.ERROR_REASON_FILTER_UNAVAILABLE,
    )


def subscription_not_found(name: str) -> NotFound:
    """No subscription has the name."""
    return NotFound(
        f"no subscription has the name {name!r}; `weft events subscriptions` shows those that there are",
        reason=pb.ERROR_REASON_SUBSCRIPTION_NOT_FOUND,
        metadata={"name": name},
    )


def subscription_exists(name: str) -> AlreadyExists:
    """A subscription of this name has another spec."""
    return AlreadyExists(
        f"a subscription {name!r} is there already, with another spec: delete it, or choose another name",
        reason=pb.ERROR_REASON_SUBSCRIPTION_EXISTS,
        metadata={"name": name},
    )
