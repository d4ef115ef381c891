"""Times and sizes as short text, for tables."""

from __future__ import annotations

from datetime import UTC, datetime

_STEPS = ((86400.0, "d"), (3600.0, "h"), (60.0, "m"))


def span(seconds: float) -> str:
    """A time span: "3 ms", "2.5 s", "14 m", "3.1 h", "2 d"."""
    for size, unit in _STEPS:
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    return f"{max(seconds, 0.0) * 1000:.0f} ms"


def since(moment: datetime | None, now: datetime | None = None) -> str:
    """The time since then; empty if the time is not known."""
    if moment is None:
        return ""
    return span(((now or datetime.now(UTC)) - moment).total_seconds())


def until(moment: datetime, now: datetime | None = None) -> str:
    """The time until then."""
    return span((moment - (now or datetime.now(UTC))).total_seconds())


def between(start: datetime | None, end: datetime | None) -> str:
    """The time from start to end; empty if one of them is not known."""
    return "" if start is None or end is None else span((end - start).total_seconds())


def size(count_bytes: float) -> str:
    """A size in bytes: "512 B", "3.4 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count_bytes < 1024 or unit == "GiB":
            return f"{count_bytes:.0f} {unit}" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1024
    raise AssertionError
