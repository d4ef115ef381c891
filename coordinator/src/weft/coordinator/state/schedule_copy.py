"""A schedule of an export as a schedule of another mesh: its ticks go on where they were. Pure."""

from __future__ import annotations

import re

from weft.coordinator.request_checks import check_reason, check_resource_name
from weft.coordinator.schedules.schedule_codec import LAST_TICKS, check_spec
from weft.rpc import refusals
from weft.rpc.times import checked_time, seconds
from weft.v1 import schedule_pb2

_UID = re.compile("[0-9a-f]{16}")
_TIMES = ("create_time", "update_time", "next_time", "next_submit_time", "ended_time")


def copy_of(given: schedule_pb2.Schedule) -> schedule_pb2.Schedule:
    """The schedule as it is to be stored. Its spec was right when it was made: a time of it may have passed since.

    Raises:
        InvalidArgument, TooLarge: naming the field.
    """
    schedule = schedule_pb2.Schedule()
    schedule.CopyFrom(given)
    check_resource_name(schedule.name, "schedule.name")
    check_reason(schedule.pause_reason, "schedule.pause_reason")
    if not _UID.fullmatch(schedule.uid):
        raise refusals.invalid_field("a schedule's uid has 16 hexadecimal digits", field="schedule.uid")
    if not schedule.HasField("create_time"):
        raise refusals.invalid_field(
            "the schedule does not say when it was made", field="schedule.create_time"
        )
    for name in _TIMES:
        checked_time(getattr(schedule, name), f"schedule.{name}")
    check_spec(schedule.spec, seconds(schedule.create_time))
    # Tasks have other ids here.
    schedule.ClearField("unfinished_task_ids")
    schedule.ClearField("pending_time")
    del schedule.last_ticks[LAST_TICKS:]
    for tick in schedule.last_ticks:
        tick.ClearField("task_id")
    if not (schedule.paused or schedule.HasField("next_time") or schedule.HasField("ended_time")):
        raise refusals.invalid_field(
            "the schedule has no next tick, though it is neither paused nor ended", field="schedule.next_time"
        )
    return schedule
