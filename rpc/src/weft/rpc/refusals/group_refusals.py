"""Refusals of groups."""

from __future__ import annotations

from weft.rpc.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
)
from weft.v1 import errors_pb2 as pb


def group_not_found(name: str) -> NotFound:
    """No group has the name."""
    return NotFound(
        f"no group has the name {name!r} (any more); `weft groups list` shows those that there are",
        reason=pb.ERROR_REASON_GROUP_NOT_FOUND,
        metadata={"group": name},
    )


def group_closed(name: str) -> FailedPrecondition:
    """A task's group takes no more tasks."""
    return FailedPrecondition(
        f"group {name!r} is closed and takes no more tasks: submit the task to another group, or to none",
        reason=pb.ERROR_REASON_GROUP_CLOSED,
        metadata={"group": name},
    )


def group_exists(name: str, what: str) -> AlreadyExists:
    """A group of this name cannot get this callback."""
    return AlreadyExists(
        f"group {name!r} {what}: choose another name, or delete it first",
        reason=pb.ERROR_REASON_GROUP_EXISTS,
        metadata={"group": name},
    )


def group_unfinished(name: str) -> FailedPrecondition:
    """A group cannot be deleted yet."""
    return FailedPrecondition(
        f"group {name!r} has unfinished tasks, or its callback is being submitted: wait for its end, or cancel it first",
        reason=pb.ERROR_REASON_GROUP_UNFINISHED,
        metadata={"group": name},
    )
