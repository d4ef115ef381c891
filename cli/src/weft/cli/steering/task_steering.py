"""Changing many tasks by a filter: find them, show a summary, ask, and change them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weft.cli.rendering import task_view
from weft.cli.steering.id_changes import ChangeCounts, change_each
from weft.cli.terminal import moments
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import json_text, line, plain, prompt, remark
from weft.rpc.contracts import names

if TYPE_CHECKING:
    from weft.cli.steering.task_filters import TaskFilter
    from weft.client import Mesh, Task, TaskState

# The most tasks that one command changes.
MOST_TASKS = 100_000
_SAMPLE = 5


@dataclass(frozen=True, slots=True)
class Steering:
    """One kind of change of tasks.

    Args:
        verb: such as "cancel".
        states: task states that allow the change.
        default_states: the states of a filter that names none.
    """

    verb: str
    states: Sequence[TaskState]
    default_states: Sequence[TaskState]
    yes: bool
    dry_run: bool
    as_json: bool

    async def change_ids(self, ids: Sequence[str], change: Callable[[str], Awaitable[Task]]) -> ChangeCounts:
        """Change the tasks with these ids."""
        return await change_each(ids, change, _shown, as_json=self.as_json)

    async def change_found(
        self, mesh: Mesh, task_filter: TaskFilter, change: Callable[[str], Awaitable[Task]]
    ) -> ChangeCounts:
        """Find the tasks, show a summary, ask, and change them.

        Raises:
            Failure: there is no terminal to ask at, or too many tasks match.
        """
        from weft.rpc.errors import FailedPrecondition, NotFound

        ids: list[str] = []
        sample: list[Task] = []
        counts: Counter[str] = Counter()
        async for task in task_filter.tasks(mesh, MOST_TASKS + 1):
            ids.append(task.id)
            counts[task.state.name] += 1
            if len(sample) < _SAMPLE:
                sample.append(task)
        if len(ids) > MOST_TASKS:
            raise Failure(f"more than {MOST_TASKS} tasks match: narrow the filter, for example with --until")
        if self.as_json and self.dry_run:
            line(json_text({"count": len(ids), "states": counts, "ids": ids}))
            return ChangeCounts(len(ids))
        _print_summary(counts, sample)
        if self.dry_run or not ids or not self._agreed(len(ids)):
            return ChangeCounts(len(ids))
        return await change_each(
            ids,
            change,
            _shown,
            as_json=self.as_json,
            outdated=(FailedPrecondition, NotFound),
            sum_up=True,
        )

    def _agreed(self, count: int) -> bool:
        if self.yes:
            return True
        if not sys.stdin.isatty():
            raise Failure(
                f"cannot ask whether to {self.verb} {_tasks(count)}: standard input is not a terminal."
                " Add --yes to do it, or --dry-run to look only",
                status=2,
            )
        prompt(f"{self.verb.capitalize()} {_tasks(count)}? [y/N] ")
        return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _shown(task: Task) -> tuple[dict[str, Any], str]:
    from weft.cli.rendering.documents import task_document

    asked = ", cancellation requested" if task.cancel_requested and not task.ended else ""
    return task_document(task), f"{task.id} {task.state.name}{asked}"


def _print_summary(counts: Counter[str], sample: Sequence[Task]) -> None:
    """Print the number of tasks by state, and the newest tasks."""
    count = counts.total()
    states = ", ".join(f"{some} {state}" for state, some in counts.most_common())
    remark(f"{_tasks(count)} match{'es' if count == 1 else ''}{f': {states}' if states else ''}")
    for task in sample:
        words = (task.id, names.short(task.method), task.state.name, f"{moments.since(task.created_at)} old")
        remark(plain("  " + "  ".join(filter(None, (*words, task_view.error_text(task))))))
    if count > len(sample):
        remark(f"  and {count - len(sample)} more")


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"
