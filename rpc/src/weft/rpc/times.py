"""Converts seconds (floats) to and from the well-known types on the wire. Durations of requests are checked, never clamped."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from weft.rpc import refusals

MAX_DURATION_S = 366 * 86400.0
# The end of the year 9999: a Timestamp has no later time.
_LAST_TIME_S = 253_402_300_799


def duration(seconds: float) -> Duration:
    """A Duration of `seconds`, rounded to microseconds."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return Duration(seconds=whole, nanos=micros * 1000)


def optional_duration(seconds: float | None) -> Duration | None:
    """A Duration, or None if it is not set."""
    return None if seconds is None else duration(seconds)


def timestamp(seconds: float) -> Timestamp:
    """A Timestamp of `seconds` since the epoch, rounded to microseconds."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return Timestamp(seconds=whole, nanos=micros * 1000)


def seconds(value: Duration | Timestamp) -> float:
    """A Duration or Timestamp as seconds."""
    return value.seconds + value.nanos / 1e9


def checked_time(value: Timestamp, field: str) -> float:
    """A request's time in seconds since the epoch, checked.

    Raises:
        InvalidArgument: it is not within the years 1970 to 9999.
    """
    if not 0 <= value.seconds <= _LAST_TIME_S or not 0 <= value.nanos <= 999_999_999:
        raise refusals.invalid_field(f"{field} must be a valid time of the years 1970 to 9999", field=field)
    return value.seconds + value.nanos / 1e9


def checked_duration(
    value: Duration, field: str, *, least_s: float = 0.0, most_s: float = MAX_DURATION_S
) -> float:
    """A request's duration in seconds, checked.

    Raises:
        InvalidArgument: the duration is malformed, or outside [least_s, most_s].
    """
    if not -999_999_999 <= value.nanos <= 999_999_999 or (value.seconds > 0 > value.nanos):
        raise refusals.invalid_field(f"{field} is not a valid duration", field=field)
    result = seconds(value)
    if not least_s <= result <= most_s:
        raise refusals.invalid_field(
            f"{field} is {result:g} s; it must be between {least_s:g} s and {most_s:g} s", field=field
        )
    return result
