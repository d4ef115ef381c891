"""Refusals of schedules."""

from __future__ import annotations

from weft.rpc.errors import (
    AlreadyExists,
    NotFound,
)
from weft.v1 import errors_pb2 as pb


def schedule_not_found(name: str) -> NotFound:
    """No schedule has the name."""
    return NotFound(
        f"no schedule has the name {name!r}; `weft schedules list` shows those that there are",
        reason=pb.ERROR_REASON_SCHEDULE_NOT_FOUND,
        metadata={"name": name},
    )


def schedule_exists(name: str) -> AlreadyExists:
    """A schedule of this name has another spec."""
    return AlreadyExists(
        f"a schedule {name!r} is there already, with another spec: update it, delete it, or choose another name",
        reason=pb.ERROR_REASON_SCHEDULE_EXISTS,
        metadata={"name": name},
    )
