"""What tasks have used, as coordinators tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from weft.client.api import Api
from weft.client.methods import Method
from weft.rpc import refusals
from weft.rpc.times import seconds
from weft.v1 import usage_pb2 as pb

_GET = Method.of("weft.v1.UsageService/GetUsage", pb.GetUsageRequest, pb.GetUsageResponse)

UsageBy = Literal["method", "agent", "root_task", "time"]
_DIMENSIONS = {
    name: pb.UsageDimension.Value(f"USAGE_DIMENSION_{name.upper()}")
    for name in ("method", "agent", "root_task", "time")
}


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of everything was used."""

    attempts: int
    # From their assignment to their report; and times the slots that each took.
    active_s: float
    slot_s: float
    # Of payloads and responses.
    request_bytes: int
    response_bytes: int
    # Units that handlers name (`current_task().use`), such as "tokens".
    units: Mapping[str, float]
    # Their time, bytes and units are in the others.
    direct_calls: int

    @classmethod
    def of(cls, proto: pb.Usage) -> Usage:
        return cls(
            proto.attempts,
            seconds(proto.active),
            seconds(proto.slot_time),
            proto.request_bytes,
            proto.response_bytes,
            dict(proto.units),
            proto.direct_calls,
        )


@dataclass(frozen=True, slots=True)
class UsageReport:
    """What was used in a time."""

    # By name: a method, an agent's or a task's id, or an RFC 3339 timestamp; "" for all others together, where there were too many. Those
    # that used most first; by time the oldest first.
    entries: Sequence[tuple[str, Usage]]
    total: Usage
    # The beginning of the time, which is a whole hour or day.
    start: datetime


async def usage_of(api: Api, by: UsageBy, start: datetime | None, end: datetime | None) -> UsageReport:
    """Ask a coordinator for usage."""
    if by not in _DIMENSIONS:
        raise refusals.invalid_field(f"by is {by!r}; it must be one of {', '.join(_DIMENSIONS)}", field="by")
    request = pb.GetUsageRequest(by=_DIMENSIONS[by])  # type: ignore[arg-type]
    for stamp, moment in ((request.start_time, start), (request.end_time, end)):
        if moment is not None:
            stamp.FromDatetime(moment.astimezone(UTC))
    found = await api.call(_GET, request)
    return UsageReport(
        entries=[(each.name, Usage.of(each.usage)) for each in found.entries],
        total=Usage.of(found.total),
        start=found.start_time.ToDatetime(tzinfo=UTC),
    )
