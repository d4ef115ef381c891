"""A run of a graph, shown: its nodes while it runs, and at its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from weft.cli.rendering.step_view import value_of
from weft.cli.terminal.output import Styled, StyledText, remark
from weft.cli.terminal.progress_line import ProgressState
from weft.cli.terminal.tables import Column, print_rows

if TYPE_CHECKING:
    from weft.client import Mesh, Task

# The prefix of the enum's names.
_STATE = "NODE_STATE_"
_STYLES = {
    "SUCCEEDED": "green",
    "FAILED": "red",
    "RECOVERED": "yellow",
    "UNDONE": "yellow",
    "UNDO_FAILED": "bold red",
    "SKIPPED": "dim",
    "NOT_REACHED": "dim",
}
_COLUMNS = (
    Column("NODE"),
    Column("STATE"),
    Column("TASK"),
    Column("AGENT", spare=2),
    Column("ATTEMPTS", right=True, spare=3),
    Column("SECONDS", right=True, spare=1),
    Column("WHY", below=True),
)
# Tasks of a run that are looked at.
_MOST_TASKS = 1000
_NAMED = 4


@dataclass(slots=True)
class RunProgress:
    """What is known of a run that goes on.

    Args:
        run_id: its task.
        total: the graph's nodes that are steps, without those of maps; None: not known.
    """

    run_id: str
    total: int | None = None
    _tasks: dict[str, Task] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)
    _waits_for: str = ""

    async def look(self, mesh: Mesh) -> None:
        """Read how far it is."""
        run = await mesh.tasks.get(self.run_id)
        self._waits_for = run.waits_for
        prefix = f"step:{self.run_id}/"
        root_id = run.proto.options.context.root_id or run.id
        listed = mesh.tasks.list(root_id=root_id, created_from=run.created_at, limit=_MOST_TASKS)
        async for task in listed:
            if task.request_id.startswith(prefix):
                self._tasks[task.request_id.removeprefix(prefix)] = task
        if "signal " in self._waits_for:
            await self._tell_questions(mesh)

    async def _tell_questions(self, mesh: Mesh) -> None:
        """Print what a person is asked, once."""
        async for step in mesh.tasks.steps(self.run_id):
            kind, _, node = step.name.partition("/")
            if kind != "ask" or node in self._asked:
                continue
            self._asked.add(node)
            name = node.replace("[", "/").replace(",", "/").rstrip("]")
            if f"signal {name}" not in self._waits_for:
                continue
            question = value_of(step)
            remark(f"{node} waits for a person: {question or 'approve?'}")
            remark(
                f"  yes: weft tasks signal {self.run_id} {name}"
                f"   no: weft tasks signal {self.run_id} {name} '{{\"approved\": false}}'"
            )

    def state(self) -> ProgressState:
        """How far it is, for the progress line."""
        done = [each for each in self._tasks.values() if each.ended]
        words = [name for name, each in self._tasks.items() if not each.ended]
        if not words and self._waits_for:
            words = [f"waits for {self._waits_for.partition(', for at most')[0]}"]
        elif len(words) > _NAMED:
            words = [*words[:_NAMED], f"{len(words) - _NAMED} more"]
        return ProgressState(len(done), self.total, tuple(words), estimated=True)


def steps_of(value: Any) -> int | None:
    """The steps of a graph, a JSON value, at all depths; None: a map makes any number of them."""
    if isinstance(value, dict):
        if "map" in value and "name" in value:
            return None
        own = 1 if "step" in value and "name" in value else 0
        found = [steps_of(each) for each in value.values() if isinstance(each, dict | list)]
    elif isinstance(value, list):
        own, found = 0, [steps_of(each) for each in value]
    else:
        return 0
    known = [each for each in found if each is not None]
    return None if len(known) < len(found) else own + sum(known)


def print_nodes(response: dict[str, Any]) -> None:
    """Print what became of each node."""
    print_rows(_COLUMNS, [_row(each) for each in response.get("nodes", ())], "The run had no nodes.")


def _row(node: dict[str, Any]) -> list[StyledText]:
    state = str(node.get("state", "")).removeprefix(_STATE)
    return [
        str(node.get("name", "")),
        Styled(state, _STYLES.get(state, "")),
        str(node.get("taskId", "")),
        str(node.get("agentId", "")),
        str(node.get("attempts", "")),
        _took(node),
        str(node.get("error", {}).get("message", "")),
    ]


def _took(node: dict[str, Any]) -> str:
    try:
        began, ended = (datetime.fromisoformat(str(node[key])) for key in ("submittedAt", "endedAt"))
    except (KeyError, ValueError):
        return ""
    return f"{(ended - began).total_seconds():.2f}"
