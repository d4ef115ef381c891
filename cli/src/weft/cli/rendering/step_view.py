"""The recorded steps of a task, as text and as documents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from weft.cli.terminal import moments
from weft.cli.terminal.output import plain
from weft.rpc import bounded_json

if TYPE_CHECKING:
    from weft.client import Mesh
    from weft.client.task_steps import RecordedStep

# Steps of a task that are shown: the newest.
MOST_SHOWN = 50
_MOST_CHARS = 60


async def steps_of(mesh: Mesh, task_id: str) -> list[RecordedStep]:
    """The steps of a task; none, if its coordinator is of a version without steps."""
    from weft.rpc.errors import Unimplemented

    try:
        return [step async for step in mesh.tasks.steps(task_id)]
    except Unimplemented:
        return []


def step_lines(steps: list[RecordedStep]) -> str:
    """A line a step; of many, the newest."""
    shown = steps[-MOST_SHOWN:]
    rows = [
        (plain(step.name), step.kind.value, f"{moments.since(step.recorded_at)} ago", _told(step))
        for step in shown
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in rows
    ]
    left_out = len(steps) - len(shown)
    return "\n".join([*([f"({left_out} earlier ones)"] if left_out else []), *lines])


def _told(step: RecordedStep) -> str:
    if step.wake_at is not None:
        return f"until {step.wake_at.astimezone():%Y-%m-%d %H:%M:%S}"
    if not step.value:
        return ""
    text = plain(json.dumps(value_of(step), ensure_ascii=False))
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}…"


def value_of(step: RecordedStep) -> Any:
    """The value of a step for people; bytes and messages by their size alone."""
    try:
        return bounded_json.loads(step.value) if step.value else None
    except ValueError:
        return f"({len(step.value)} bytes)"


def step_document(step: RecordedStep) -> dict[str, Any]:
    """A step for programs."""
    document: dict[str, Any] = {
        "name": step.name,
        "kind": step.kind.value,
        "attempt": step.attempt,
        "recorded_at": step.recorded_at.isoformat(),
        "value": value_of(step),
    }
    if step.wake_at is not None:
        document["wake_at"] = step.wake_at.isoformat()
    return document
