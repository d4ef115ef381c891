"""Groups for people and as JSON documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weft.cli.rendering.documents import time_text
from weft.cli.terminal.output import Styled, StyledText
from weft.cli.terminal.tables import Column
from weft.rpc.contracts import names

if TYPE_CHECKING:
    from datetime import datetime

    from weft.client import Group

COLUMNS = (
    Column("group"),
    Column("is"),
    Column("tasks", right=True),
    Column("unfinished", right=True, spare=1),
    Column("by state", below=True),
    Column("then", below=True),
)


def row(group: Group) -> list[StyledText]:
    """A group as a row of `COLUMNS`."""
    return [
        group.name,
        standing(group),
        str(group.total),
        str(group.unfinished),
        by_state(group),
        _then(group),
    ]


def standing(group: Group) -> StyledText:
    """Whether the group is open, closed or has ended."""
    if group.ended:
        return Styled("ended", "green")
    return "open" if group.closed_at is None else Styled("closed", "yellow")


def by_state(group: Group) -> str:
    """The counts of the states that there are."""
    return ", ".join(f"{count} {state.name}" for state, count in group.counts.items())


def facts(group: Group) -> list[tuple[str, StyledText]]:
    """Names and values that describe a group."""
    found: list[tuple[str, StyledText]] = [
        ("group", group.name),
        ("is", standing(group)),
        ("tasks", f"{group.total} ({by_state(group)})" if group.total else "0"),
        ("created", _at(group.created_at)),
        ("closed", _at(group.closed_at)),
        ("ended", _at(group.ended_at)),
        ("then", group.then),
        ("callback", group.callback_task_id),
        ("callback failed", group.callback_error),
    ]
    return [(name, value) for name, value in found if value]


def group_document(group: Group) -> dict[str, Any]:
    """A group."""
    return {
        "name": group.name,
        "uid": group.uid,
        "counts": {state.name: count for state, count in group.counts.items()},
        "total": group.total,
        "unfinished": group.unfinished,
        "create_time": time_text(group.created_at),
        "close_time": time_text(group.closed_at),
        "end_time": time_text(group.ended_at),
        "then": group.then or None,
        "callback_task_id": group.callback_task_id or None,
        "callback_error": group.callback_error or None,
    }


def _then(group: Group) -> StyledText:
    if group.callback_error:
        return Styled(f"failed: {group.callback_error}", "red")
    told = names.short(group.then) if group.then else ""
    return f"{told} {group.callback_task_id}".strip()


def _at(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S %z}"
