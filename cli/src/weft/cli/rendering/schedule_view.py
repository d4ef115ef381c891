"""Schedules for people and as JSON documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weft.cli.rendering.documents import time_text
from weft.cli.terminal import moments
from weft.cli.terminal.output import Styled, StyledText, json_text, plain
from weft.cli.terminal.payload_view import PLAIN, PayloadView
from weft.cli.terminal.tables import Column, Verbatim
from weft.rpc.contracts import names
from weft.rpc.contracts.json_rendering import json_value

if TYPE_CHECKING:
    from datetime import datetime

    from weft.client import Schedule, Tick

COLUMNS = (
    Column("schedule"),
    Column("method"),
    Column("when", below=True),
    Column("next"),
    Column("last", below=True),
    Column("tasks", right=True, spare=1),
    Column("other ticks", below=True),
)
_STYLES = {"SUBMITTED": "green", "SKIPPED": "yellow", "MISSED": "yellow", "REFUSED": "red"}
# Until a tick that a coordinator is about to submit.
_NOW = "now"


def row(schedule: Schedule) -> list[StyledText]:
    """A schedule as a row of `COLUMNS`."""
    return [
        schedule.name,
        names.short(schedule.method),
        _when(schedule),
        _next(schedule),
        _last(schedule.last_ticks[0]) if schedule.last_ticks else "",
        str(schedule.submitted),
        _others(schedule),
    ]


def facts(schedule: Schedule, document: dict[str, Any]) -> list[tuple[str, StyledText | Verbatim]]:
    """Names and values that describe a schedule."""
    ticks = "\n".join(plain(_last(tick)) for tick in schedule.last_ticks)
    window_s = schedule.catch_up_window_s
    found: list[tuple[str, StyledText | Verbatim]] = [
        ("schedule", schedule.name),
        ("method", schedule.method),
        ("when", _when(schedule)),
        ("next", _next(schedule)),
        ("submitted at", _at(schedule.next_submit_at) if schedule.jitter_s else ""),
        ("starts", _at(schedule.start_at)),
        ("ends", _at(schedule.end_at)),
        ("jitter", f"up to {moments.span(schedule.jitter_s)}" if schedule.jitter_s else ""),
        ("overlap", schedule.overlap.name.lower()),
        ("catch-up", "1 h" if window_s is None else moments.span(window_s)),
        ("tasks", str(schedule.submitted)),
        ("other ticks", _others(schedule)),
        ("created", _at(schedule.created_at)),
        ("made by", schedule.maker),
        ("last ticks", Verbatim(ticks) if ticks else ""),
        ("options", Verbatim(json_text(document["options"], indent=2)) if document["options"] else ""),
        ("request", Verbatim(json_text(document["request"], indent=2))),
    ]
    return [(name, value) for name, value in found if value]


def schedule_document(schedule: Schedule, view: PayloadView = PLAIN, *, full: bool = False) -> dict[str, Any]:
    """A schedule; with `full` also its request and options."""
    document: dict[str, Any] = {
        "name": schedule.name,
        "uid": schedule.uid,
        "method": schedule.method,
        "cron": schedule.proto.spec.cron or None,
        "time_zone": schedule.proto.spec.time_zone or None,
        "every_s": getattr(schedule.timing, "seconds", None),
        "at": time_text(getattr(schedule.timing, "at", None)),
        "overlap": schedule.overlap.name,
        "jitter_s": schedule.jitter_s,
        "catch_up_window_s": schedule.catch_up_window_s,
        "start_at": time_text(schedule.start_at),
        "end_at": time_text(schedule.end_at),
        "paused": schedule.paused,
        "pause_reason": schedule.pause_reason,
        "next_at": time_text(schedule.next_at),
        "next_submit_at": time_text(schedule.next_submit_at),
        "ended_at": time_text(schedule.ended_at),
        "submitted": schedule.submitted,
        "skipped": schedule.skipped,
        "missed": schedule.missed,
        "refused": schedule.refused,
        "maker": schedule.maker,
        "created_at": time_text(schedule.created_at),
        "updated_at": time_text(schedule.updated_at),
        "last_ticks": [
            {
                "time": time_text(tick.time),
                "outcome": tick.outcome.name,
                "task_id": tick.task_id,
                "reason": tick.reason,
                "manual": tick.manual,
            }
            for tick in schedule.last_ticks
        ],
    }
    if full:
        spec = schedule.proto.spec
        document["request"] = view.request(spec.payload)
        document["options"] = json_value(spec.options) if spec.HasField("options") else None
    return document


def _when(schedule: Schedule) -> str:
    return "" if schedule.timing is None else str(schedule.timing)


def _next(schedule: Schedule) -> StyledText:
    if schedule.paused:
        return Styled(f"paused: {schedule.pause_reason}" if schedule.pause_reason else "paused", "yellow")
    if schedule.ended_at is not None:
        return Styled("ended", "dim")
    if schedule.next_at is None:
        return ""
    return f"in {moments.until(schedule.next_at)}" if moments.until(schedule.next_at) != "0 ms" else _NOW


def _last(tick: Tick) -> StyledText:
    words = " ".join(part for part in (tick.task_id, "(by hand)" if tick.manual else "", tick.reason) if part)
    ago = f"{moments.since(tick.time)} ago " if tick.time is not None else ""
    return [ago, Styled(tick.outcome.name, _STYLES.get(tick.outcome.name, "")), f" {words}" if words else ""]


def _others(schedule: Schedule) -> str:
    counts = (("skipped", schedule.skipped), ("missed", schedule.missed), ("refused", schedule.refused))
    return ", ".join(f"{count} {name}" for name, count in counts if count)


def _at(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
