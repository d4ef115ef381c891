"""Events of the audit for people."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from weft.cli.terminal.output import Styled, StyledText
from weft.cli.terminal.tables import Column
from weft.coordinator.audit.audit_event import Record

COLUMNS = (
    Column("time"),
    Column("who"),
    Column("what"),
    Column("outcome"),
    Column("count", right=True),
    Column("on", below=True, spare=1),
)


def row(record: Record) -> list[StyledText]:
    """An event as a row of `COLUMNS`."""
    at = datetime.fromisoformat(record["time"]).astimezone()
    details = ", ".join(f"{name}={value}" for name, value in sorted(record["details"].items()))
    places = (("namespace", record["namespace"]), ("from", record["peer"]))
    told = " ".join(f"{name} {value}" for name, value in places if value)
    return [
        f"{at:%Y-%m-%d %H:%M:%S}",
        record["subject"] or "-",
        record["action"].removeprefix("weft.v1."),
        _outcome(record),
        "" if record["count"] == 1 else str(record["count"]),
        ", ".join(filter(None, (details, told))),
    ]


def text(record: Record) -> list[str | Styled]:
    """An event as a line."""
    time, who, what, outcome, count, on = row(record)
    shown: list[Any] = [f"{time}  {who}  {what}  ", outcome]
    shown.append("".join((f"  x{count}" if count else "", f"  {on}" if on else "")))
    return shown


def _outcome(record: Record) -> str | Styled:
    if record["code"] == "OK":
        return "OK"
    return Styled(record["reason"] or record["code"], "red")
