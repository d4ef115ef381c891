"""Hours and days, as usage is kept, and the periods of budgets. UTC. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

HOUR_S, DAY_S = 3600.0, 86400.0
KEEP_HOURS_S, KEEP_DAYS_S = 8 * DAY_S, 400 * DAY_S
# A longer time is told in days.
MOST_IN_HOURS_S = 2 * DAY_S


def hour_name(at: float) -> str:
    """The hour of a time, for keys that sort by time."""
    return datetime.fromtimestamp(at, UTC).strftime("h/%Y-%m-%dT%H")


def day_name(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("d/%Y-%m-%d")


def time_of(name: str) -> float:
    """The beginning of the hour or day of a name.

    Raises:
        ValueError
    """
    form = "h/%Y-%m-%dT%H" if name.startswith("h/") else "d/%Y-%m-%d"
    return datetime.strptime(name, form).replace(tzinfo=UTC).timestamp()


def day_begin(at: float) -> float:
    return at - at % DAY_S


def month_begin(at: float) -> float:
    return (
        datetime.fromtimestamp(at, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
    )


def next_month(at: float) -> float:
    # The 32nd day after a first is in the next month, whatever its length.
    return month_begin((datetime.fromtimestamp(month_begin(at), UTC) + timedelta(days=32)).timestamp())
