"""When the ticks of a schedule come: cron expressions, intervals, one time; time zones and jitter. Pure.

Times are seconds since the epoch, to the millisecond.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MAX_CRON_CHARS = 256
MAX_ZONE_CHARS = 64
# Ticks end here, before the datetimes of Python do.
_LAST_S = 250_000_000_000.0


class BadTiming(ValueError):
    """A cron expression or a time zone is wrong; the text says how."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When ticks come. One of `cron`, `interval_s` and `at` is set."""

    cron: str = ""
    zone: str = ""
    interval_s: float = 0.0
    at: float | None = None
    # An interval counts from here.
    anchor: float = 0.0
    start_at: float | None = None
    end_at: float | None = None
    jitter_s: float = 0.0
    # Jitter depends on this and the tick.
    seed: str = ""

    def next_after(self, after: float) -> float | None:
        """The first tick after a time; None: there is none."""
        if self.start_at is not None:
            # A tick at the start counts.
            after = max(after, self.start_at - 0.001)
        found = self._next(after)
        if found is None or found > _LAST_S or (self.end_at is not None and found >= self.end_at):
            return None
        return found

    def submit_at(self, tick: float) -> float:
        """When the task of a tick is submitted: the tick, and its jitter."""
        if not self.jitter_s:
            return tick
        digest = hashlib.sha256(f"{self.seed}.{milliseconds(tick)}".encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        return rounded(tick + share * self.jitter_s)

    def _next(self, after: float) -> float | None:
        if self.cron:
            return next(fires(self.cron, self.zone, after), None)
        if self.interval_s:
            steps = max(1, math.floor((after - self.anchor) / self.interval_s) + 1)
            # Rounding may give a tick that is not after the time, or leave one out.
            for count in (steps - 1, steps, steps + 1):
                tick = rounded(self.anchor + count * self.interval_s)
                if count >= 1 and tick > after:
                    return tick
        return self.at if self.at is not None and self.at > after else None


def fires(cron: str, zone: str, after: float) -> Iterator[float]:
    """The times after `after` at which a cron expression fires, in order, each once.

    Raises:
        BadTiming: the expression or the zone is wrong.
    """
    # Without a zone cronsim takes other rules for clock changes, and UTC has none.
    where: tzinfo = zone_of(zone)
    if after > _LAST_S:
        return
    try:
        times = CronSim(cron, datetime.fromtimestamp(math.floor(after), where))
    except CronSimError as error:
        raise BadTiming(str(error)) from None
    last = after
    try:
        for fired in times:
            at = float(fired.timestamp())
            # In an hour that comes twice, the first time is before a start in the second one.
            if at > last:
                last = at
                yield at
    except OverflowError:
        return


@lru_cache(256)
def zone_of(name: str) -> tzinfo:
    """A time zone; empty: UTC.

    Raises:
        BadTiming: there is no such zone.
    """
    if name in {"", "UTC"}:
        return UTC
    try:
        if len(name) > MAX_ZONE_CHARS:
            raise ValueError(name)
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # An unknown name; a path, a folder, or a file that is no zone.
        raise BadTiming(f"there is no time zone {name[:MAX_ZONE_CHARS]!r}") from None


def check_cron(cron: str, zone: str, now: float) -> None:
    """Refuse a cron expression that is wrong or never fires.

    Raises:
        BadTiming
    """
    if len(cron) > MAX_CRON_CHARS:
        raise BadTiming(f"it has more than {MAX_CRON_CHARS} characters")
    if not cron.isascii():
        raise BadTiming("it has other characters than ASCII")
    try:
        first = next(fires(cron, zone, now), None)
    except BadTiming as error:
        raise BadTiming(_explained(str(error))) from None
    if first is None:
        raise BadTiming("it never fires")


def _explained(error: str) -> str:
    if error == "Wrong number of fields":
        return "it must have five fields (minute, hour, day of the month, month, day of the week), or six with the second first"
    if error.startswith("Bad "):
        field = error.removeprefix("Bad ").replace("-", " ")
        return f"its {field} is wrong, or never comes"
    return error


def rounded(at: float) -> float:
    """A time to the millisecond."""
    return round(at, 3)


def milliseconds(at: float) -> int:
    """A time as a number that names a tick."""
    return round(at * 1000)
