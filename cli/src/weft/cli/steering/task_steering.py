"""Steering many tasks by a filter: they are found, shown in short and asked about, and then changed, some at a time."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weft.cli.rendering import task_view
from weft.cli.terminal import moments
from weft.cli.terminal.failure import Failure
from weft.cli.terminal.output import json_text, line, plain, prompt, remark
from weft.rpc.contracts import names

if TYPE_CHECKING:
    from weft.cli.steering.task_filters import TaskFilter
    from weft.client import Mesh, Task, TaskState

# Most that one command changes, and how many at a time.
MOST_TASKS = 100_000
_AT_A_TIME = 32
_SAMPLE = 5
_PROGRESS_S = 2.0


@dataclass(frozen=True, slots=True)
class Steering:
    """What is to be done to the tasks.

    Args:
        verb: such as "cancel".
        states: those in which it can be done; `unless_said`: those that are meant when none is named.
    """

    verb: str
    states: Sequence[TaskState]
    unless_said: Sequence[TaskState]
    yes: bool
    dry_run: bool
    as_json: bool

    async def run(self, mesh: Mesh, where: TaskFilter, change: Callable[[str], Awaitable[Task]]) -> int:
        """Find, show, ask, and do it; how many failed.

        Raises:
            Failure: nobody can be asked, or there are too many.
        """
        ids: list[str] = []
        sample: list[Task] = []
        counts: Counter[str] = Counter()
        async for task in where.tasks(mesh, MOST_TASKS + 1):
            ids.append(task.id)
            counts[task.state.name] += 1
            if len(sample) < _SAMPLE:
                sample.append(task)
        if len(ids) > MOST_TASKS:
            raise Failure(f"more than {MOST_TASKS} tasks match: narrow the filter, with --until for example")
        if self.as_json and self.dry_run:
            line(json_text({"count": len(ids), "states": counts, "ids": ids}))
            return 0
        _show(counts, sample)
        if self.dry_run or not ids or not self._agreed(len(ids)):
            return 0
        return await self._change(ids, change)

    def _agreed(self, count: int) -> bool:
        if self.yes:
            return True
        if not sys.stdin.isatty():
            raise Failure(
                f"nobody can be asked whether to {self.verb} {_tasks(count)}: add --yes, or --dry-run to look only",
                status=2,
            )
        prompt(f"{self.verb.capitalize()} {_tasks(count)}? [y/N] ")
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    async def _change(self, ids: Sequence[str], change: Callable[[str], Awaitable[Task]]) -> int:
        from weft.cli.rendering.documents import error_document, task_document
        from weft.client import Unreachable, WeftError
        from weft.rpc.errors import FailedPrecondition, NotFound

        done = changed = failed = 0
        told_s = time.monotonic()

        async def one(task_id: str) -> Task | WeftError:
            try:
                return await change(task_id)
            except Unreachable:
                raise
            except WeftError as error:
                return error

        for at in range(0, len(ids), _AT_A_TIME):
            batch = ids[at : at + _AT_A_TIME]
            for task_id, result in zip(batch, await asyncio.gather(*map(one, batch)), strict=True):
                if isinstance(result, FailedPrecondition | NotFound):
                    changed += 1
                elif isinstance(result, WeftError):
                    failed += 1
                    remark(f"{task_id}: {result.code.name}: {result.message}")
                    if self.as_json:
                        line(json_text({"id": task_id, **error_document(result)}))
                else:
                    done += 1
                    asked = ", asked to end" if result.cancel_requested and not result.ended else ""
                    state = f"{result.id} {result.state.name}{asked}"
                    line(json_text(task_document(result)) if self.as_json else state)
            if sys.stderr.isatty() and time.monotonic() - told_s > _PROGRESS_S:
                told_s = time.monotonic()
                remark(f"{at + len(batch)} of {len(ids)}")
        meanwhile = f", {changed} had changed meanwhile" if changed else ""
        remark(f"{done} of {len(ids)} done{meanwhile}{f', {failed} failed' if failed else ''}")
        return failed


def _show(counts: Counter[str], sample: Sequence[Task]) -> None:
    """How many there are, by state, and the newest of them."""
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
