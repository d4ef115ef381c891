"""The timeline of a task: read, and drawn."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from weft.cli.process.command_runner import run
from weft.cli.rendering import task_view, timeline
from weft.cli.terminal.output import json_text, line, remark
from weft.cli.terminal.tables import room

if TYPE_CHECKING:
    from weft.client import Mesh, Task

# Tasks below one that its timeline shows.
_MOST_DESCENDANTS = 200


def show_timeline(task_id: str, target: str, *, as_json: bool) -> None:
    """Draw the timeline of a task and of those below it."""

    async def work(mesh: Mesh) -> tuple[Task, list[Task]]:
        task = await mesh.tasks.get(task_id)
        below = mesh.tasks.list(
            root_id=task.proto.options.context.root_id or task.id,
            created_from=task.created_at,
            limit=_MOST_DESCENDANTS + 1,
        )
        return task, [each async for each in below]

    task, below = run(target, work)
    if len(below) > _MOST_DESCENDANTS:
        below = below[:_MOST_DESCENDANTS]
        remark(f"only the newest {_MOST_DESCENDANTS} tasks of its tree are shown")
    found = timeline.spans(task, below)
    if as_json:
        line(json_text([span.document() for span in found]))
        return
    line((f"{task.id}  {task.method}  ", task_view.styled_state(task)))
    for drawn in timeline.drawn(found, room(), datetime.now(UTC)):
        line(drawn)
