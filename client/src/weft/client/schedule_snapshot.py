"""Schedules as Python values: the times of ticks, overlap policies, and a schedule at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from weft.client.task_snapshot import OpenEnum, moment
from weft.rpc import refusals
from weft.rpc.times import duration, seconds, timestamp
from weft.v1 import schedule_pb2


class OverlapPolicy(OpenEnum):
    """What happens to a tick while an earlier task has not ended; the numbers are those of `weft.v1.OverlapPolicy`."""

    # The tick is skipped.
    SKIP = 1
    # The tick waits until the task has ended.
    QUEUE = 2
    # The task is cancelled, and the tick waits until it has ended.
    CANCEL = 3
    # Both run.
    ALLOW = 4


class TickOutcome(OpenEnum):
    """What became of a tick; the numbers are those of `weft.v1.TickOutcome`."""

    SUBMITTED = 1
    # An earlier task had not ended.
    SKIPPED = 2
    # It was more than the catch-up window late.
    MISSED = 3
    REFUSED = 4


@dataclass(frozen=True, slots=True)
class Cron:
    """Ticks by a cron expression: "30 2 * * *", with the second first if there are six fields.

    Args:
        time_zone: an IANA name, such as "Europe/Berlin"; empty: UTC.
    """

    expression: str
    time_zone: str = ""

    def __str__(self) -> str:
        return f"{self.expression} ({self.time_zone or 'UTC'})"


@dataclass(frozen=True, slots=True)
class Every:
    """A tick each time that so many seconds have passed; at least 1."""

    seconds: float

    def __str__(self) -> str:
        return f"every {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Once:
    """One tick, at a time with a time zone."""

    at: datetime

    def __str__(self) -> str:
        return f"once at {self.at.isoformat(timespec='seconds')}"


Timing = Cron | Every | Once


def set_timing(spec: schedule_pb2.ScheduleSpec, timing: Timing) -> None:
    """Put the times of ticks into a spec.

    Raises:
        InvalidArgument: a time has no time zone.
    """
    match timing:
        case Cron(expression, time_zone):
            spec.cron, spec.time_zone = expression, time_zone
        case Every(every_s):
            spec.interval.CopyFrom(duration(every_s))
        case Once(at):
            spec.at.CopyFrom(timestamp(aware(at, "at").timestamp()))


def aware(at: datetime, field: str) -> datetime:
    """A time with a time zone.

    Raises:
        InvalidArgument: it has none: it would mean another moment on each machine.
    """
    if at.tzinfo is None:
        raise refusals.invalid_field(
            f"{field} is {at.isoformat()}, which has no time zone: use datetime.now(UTC) and the like",
            field=field,
        )
    return at


def _timing_of(spec: schedule_pb2.ScheduleSpec) -> Timing | None:
    kind = spec.WhichOneof("timing")
    if kind == "cron":
        return Cron(spec.cron, spec.time_zone)
    if kind == "interval":
        return Every(seconds(spec.interval))
    at = moment(spec, "at")
    return None if at is None else Once(at)


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick that has passed."""

    # The time that the schedule says; of `run`: when it was called.
    time: datetime | None
    outcome: TickOutcome
    task_id: str
    # Why it was refused or missed.
    reason: str
    # By `run`.
    manual: bool


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule at one moment."""

    name: str
    uid: str
    method: str
    # None: a newer coordinator's kind of times.
    timing: Timing | None
    overlap: OverlapPolicy
    jitter_s: float
    # None: the coordinator's default, 1 h.
    catch_up_window_s: float | None
    start_at: datetime | None
    end_at: datetime | None
    paused: bool
    pause_reason: str
    # None: there is none. With jitter, the task is submitted at `next_submit_at`.
    next_at: datetime | None
    next_submit_at: datetime | None
    # It has no more ticks since then.
    ended_at: datetime | None
    # Newest first.
    last_ticks: Sequence[Tick]
    submitted: int
    skipped: int
    missed: int
    refused: int
    created_at: datetime | None
    updated_at: datetime | None
    # The message, with the request and the options (not in a listing).
    proto: schedule_pb2.Schedule

    @property
    def maker(self) -> str:
        """Who set its spec last, as policies call that caller. Empty: the coordinator does not ask who calls."""
        return self.proto.maker.subject

    @classmethod
    def of(cls, proto: schedule_pb2.Schedule) -> Schedule:
        spec = proto.spec
        return cls(
            name=proto.name,
            uid=proto.uid,
            method=spec.method,
            timing=_timing_of(spec),
            overlap=OverlapPolicy(spec.overlap or OverlapPolicy.SKIP),
            jitter_s=seconds(spec.jitter),
            catch_up_window_s=seconds(spec.catch_up_window) if spec.HasField("catch_up_window") else None,
            start_at=moment(spec, "start_time"),
            end_at=moment(spec, "end_time"),
            paused=proto.paused,
            pause_reason=proto.pause_reason,
            next_at=moment(proto, "next_time"),
            next_submit_at=moment(proto, "next_submit_time"),
            ended_at=moment(proto, "ended_time"),
            last_ticks=tuple(
                Tick(moment(tick, "time"), TickOutcome(tick.outcome), tick.task_id, tick.reason, tick.manual)
                for tick in proto.last_ticks
            ),
            submitted=proto.submitted_count,
            skipped=proto.skipped_count,
            missed=proto.missed_count,
            refused=proto.refused_count,
            created_at=moment(proto, "create_time"),
            updated_at=moment(proto, "update_time"),
            proto=proto,
        )
