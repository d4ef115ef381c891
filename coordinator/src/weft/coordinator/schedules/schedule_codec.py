"""Schedules on the wire and in rows: specs are checked here, and nowhere else. A row's value is a serialized `weft.v1.Schedule`.

Times in a schedule are timestamps; the rules take seconds.
"""

from __future__ import annotations

import re
import secrets
from typing import Literal

from weft.coordinator.own_metadata import set_metadata
from weft.coordinator.schedules.schedule_rules import Fate, Overlap
from weft.coordinator.schedules.tick_times import (
    BadTiming,
    Timing,
    check_cron,
    milliseconds,
    rounded,
    zone_of,
)
from weft.rpc import refusals
from weft.rpc.task_policy.option_checks import SCHEDULE_ID
from weft.rpc.times import checked_duration, checked_time, seconds, timestamp
from weft.v1 import coordinator_pb2, schedule_pb2, task_pb2

KIND = "schedule"
DEFAULT_WINDOW_S = 3600.0
MAX_WINDOW_S = 31 * 86400.0
MAX_JITTER_S = 86400.0
LEAST_INTERVAL_S = 1.0
MAX_PAYLOAD_BYTES = 32 * 1024
MAX_OPTIONS_BYTES = 16 * 1024
MAX_TICK_REASON_CHARS = 160
MAX_RUN_ID_CHARS = 64
LAST_TICKS = 10
MAX_UNFINISHED = 16
# Metadata that a schedule's tasks have beside that of the options.
NAME_KEY, TIME_KEY = "schedule-name", "schedule-time"
_RUN_ID = re.compile(r"[\x21-\x7e]{1,64}")


def check_run_id(request_id: str) -> None:
    """Refuse a request id of RunSchedule.

    Raises:
        InvalidArgument
    """
    if request_id and not _RUN_ID.fullmatch(request_id):
        raise refusals.invalid_field(
            f"request_id must be 1 to {MAX_RUN_ID_CHARS} printable ASCII characters without spaces",
            field="request_id",
        )


def check_spec(spec: schedule_pb2.ScheduleSpec, now: float) -> None:
    """Refuse a spec that is wrong, apart from its method and payload, which the contract checks.

    Raises:
        InvalidArgument, TooLarge: naming the field.
    """
    _check_size("payload", len(spec.payload), MAX_PAYLOAD_BYTES)
    _check_size("options", spec.options.ByteSize(), MAX_OPTIONS_BYTES)
    if spec.overlap not in (0, *Overlap):
        raise refusals.invalid_field(
            f"spec.overlap is {spec.overlap}, which is no overlap policy", field="spec.overlap"
        )
    if spec.HasField("jitter"):
        checked_duration(spec.jitter, "spec.jitter", most_s=MAX_JITTER_S)
    if spec.HasField("catch_up_window"):
        checked_duration(spec.catch_up_window, "spec.catch_up_window", most_s=MAX_WINDOW_S)
    start_at = _checked_time(spec, "start_time") if spec.HasField("start_time") else None
    end_at = _checked_time(spec, "end_time") if spec.HasField("end_time") else None
    if end_at is not None and end_at <= max(now, start_at or now):
        what = "in the past" if end_at <= now else "not after spec.start_time"
        raise refusals.invalid_field(f"spec.end_time is {what}", field="spec.end_time")
    field = _check_timing(spec, now)
    timing = timing_of(schedule_pb2.Schedule(spec=spec, create_time=timestamp(now)))
    if timing.next_after(now) is None:
        raise refusals.invalid_field(
            f"spec.{field} has no tick between spec.start_time and spec.end_time", field=f"spec.{field}"
        )


def _check_timing(spec: schedule_pb2.ScheduleSpec, now: float) -> str:
    """The field that says when ticks come, checked."""
    kind: str | None = spec.WhichOneof("timing")
    if spec.time_zone and kind != "cron":
        raise refusals.invalid_field(
            "spec.time_zone is for spec.cron alone: leave it empty", field="spec.time_zone"
        )
    if kind == "cron":
        try:
            zone_of(spec.time_zone)
        except BadTiming as error:
            raise refusals.invalid_field(
                f"{error} in spec.time_zone; use a name such as 'Europe/Berlin', or none for UTC",
                field="spec.time_zone",
            ) from None
        try:
            check_cron(spec.cron, spec.time_zone, now)
        except BadTiming as error:
            raise refusals.invalid_field(
                f"spec.cron {spec.cron[:64]!r} cannot be used: {error}", field="spec.cron"
            ) from None
    elif kind == "interval":
        checked_duration(spec.interval, "spec.interval", least_s=LEAST_INTERVAL_S)
    elif kind == "at":
        if _checked_time(spec, "at") <= now:
            raise refusals.invalid_field("spec.at is in the past: give a time in the future", field="spec.at")
    else:
        raise refusals.invalid_field("spec needs one of cron, interval and at", field="spec")
    return kind


def _checked_time(spec: schedule_pb2.ScheduleSpec, name: Literal["at", "start_time", "end_time"]) -> float:
    return rounded(checked_time(getattr(spec, name), f"spec.{name}"))


def _check_size(name: str, size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        raise refusals.payload_too_large(
            f"spec.{name} is {size_bytes} bytes; a schedule keeps at most {limit_bytes}: put large data elsewhere, and name it",
            size_bytes,
            limit_bytes,
            field=f"spec.{name}",
        )


# -- a schedule for the rules -----------------------------------------------------------------------------------------


def timing_of(schedule: schedule_pb2.Schedule) -> Timing:
    """When the ticks of a schedule come."""
    spec = schedule.spec
    start_at = rounded(seconds(spec.start_time)) if spec.HasField("start_time") else None
    created_at = rounded(seconds(schedule.create_time))
    interval_s = rounded(seconds(spec.interval)) if spec.WhichOneof("timing") == "interval" else 0.0
    return Timing(
        cron=spec.cron,
        zone=spec.time_zone,
        interval_s=interval_s,
        at=rounded(seconds(spec.at)) if spec.WhichOneof("timing") == "at" else None,
        # One interval before the start, so that a tick comes at the start.
        anchor=created_at if start_at is None else start_at - interval_s,
        start_at=start_at,
        end_at=rounded(seconds(spec.end_time)) if spec.HasField("end_time") else None,
        jitter_s=seconds(spec.jitter),
        seed=schedule.uid,
    )


def overlap_of(spec: schedule_pb2.ScheduleSpec) -> Overlap:
    return Overlap(spec.overlap or Overlap.SKIP)


def window_of(spec: schedule_pb2.ScheduleSpec) -> float:
    """The catch-up window, in seconds."""
    return seconds(spec.catch_up_window) if spec.HasField("catch_up_window") else DEFAULT_WINDOW_S


def next_tick_of(schedule: schedule_pb2.Schedule) -> float | None:
    return rounded(seconds(schedule.next_time)) if schedule.HasField("next_time") else None


def set_next_tick(schedule: schedule_pb2.Schedule, timing: Timing, tick: float | None, now: float) -> None:
    """Note the next tick, or that there is none any more."""
    schedule.ClearField("ended_time")
    if tick is None:
        schedule.ClearField("next_time")
        schedule.ClearField("next_submit_time")
        schedule.ended_time.CopyFrom(timestamp(now))
        return
    schedule.next_time.CopyFrom(timestamp(tick))
    schedule.next_submit_time.CopyFrom(timestamp(timing.submit_at(tick)))


def note_tick(
    schedule: schedule_pb2.Schedule,
    tick: float,
    fate: Fate,
    *,
    task_id: str = "",
    reason: str = "",
    manual: bool = False,
) -> None:
    """Add a tick to the last ones, and count it."""
    entry = schedule_pb2.ScheduleTick(
        time=timestamp(tick),
        outcome=fate.value,  # type: ignore[arg-type]
        task_id=task_id,
        reason=reason[:MAX_TICK_REASON_CHARS],
        manual=manual,
    )
    kept = [entry, *schedule.last_ticks][:LAST_TICKS]
    del schedule.last_ticks[:]
    schedule.last_ticks.extend(kept)
    if not manual:
        name = f"{fate.name.lower()}_count"
        setattr(schedule, name, getattr(schedule, name) + 1)
    if task_id and task_id not in schedule.unfinished_task_ids:
        schedule.unfinished_task_ids.append(task_id)
        del schedule.unfinished_task_ids[:-MAX_UNFINISHED]


# -- tasks of a schedule ----------------------------------------------------------------------------------------------


def tick_request(schedule: schedule_pb2.Schedule, tick: float) -> coordinator_pb2.SubmitTaskRequest:
    """The task of a tick. Its request id is the tick's: repeats are one task."""
    return _request(schedule, tick, f"{SCHEDULE_ID}{schedule.uid}.{milliseconds(tick)}")


def run_request(
    schedule: schedule_pb2.Schedule, now: float, request_id: str
) -> coordinator_pb2.SubmitTaskRequest:
    """The task of RunSchedule. Without a request id it has one of its own: a method's idempotency key must not make it the task of
    an earlier run."""
    return _request(schedule, now, f"{SCHEDULE_ID}{schedule.uid}.run.{request_id or secrets.token_hex(16)}")


def _request(
    schedule: schedule_pb2.Schedule, at: float, request_id: str
) -> coordinator_pb2.SubmitTaskRequest:
    spec = schedule.spec
    options = task_pb2.TaskOptions()
    options.CopyFrom(spec.options)
    time = timestamp(at).ToJsonString()
    set_metadata(options, {NAME_KEY: schedule.name, TIME_KEY: time})
    return coordinator_pb2.SubmitTaskRequest(
        method=spec.method, payload=spec.payload, request_id=request_id, options=options
    )
