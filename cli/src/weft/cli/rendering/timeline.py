"""The timeline of `weft tasks get --timeline`: a task's waits, attempts and child tasks as bars, from what the store keeps.

`spans` says what happened when, `drawn` lays it out for a width: both are pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from weft.cli.rendering.task_view import STYLES, attempt_outcome, error_text
from weft.cli.terminal import moments
from weft.cli.terminal.output import Styled, StyledText
from weft.cli.terminal.tables import shortened, width_of
from weft.rpc.contracts import names

if TYPE_CHECKING:
    from weft.client import Task
    from weft.client.task_snapshot import Attempt

_BAR_COLUMNS = (10, 60)
_LABEL_COLUMNS = 24
_LENGTH_COLUMNS = 7
# The least width of the words beside a bar.
_WORDS_COLUMNS = 24
_SIGNS = {"wait": "░", "attempt": "█", "child": "▒"}


@dataclass(frozen=True, slots=True)
class TimelineSpan:
    """A part of a task's life.

    Args:
        kind: "wait", "attempt" or "child".
        begins: its begin; `ends`: its end, None while it goes on.
        words: how it ended, and where.
        style: the style of its bar.
        depth: of a child: 1 for a child, 2 for a child's child.
        task_id: of a child: its id.
    """

    kind: str
    label: str
    begins: datetime
    ends: datetime | None
    words: str = ""
    style: str = ""
    depth: int = 0
    task_id: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        found: dict[str, Any] = {"kind": self.kind, "label": self.label, "begins": self.begins.isoformat()}
        found["ends"] = None if self.ends is None else self.ends.isoformat()
        return found | {key: value for key, value in (("task", self.task_id), ("words", self.words)) if value}


def spans(task: Task, descendants: Sequence[Task] = ()) -> list[TimelineSpan]:
    """What happened to a task, in order: waits and attempts, then its child tasks, each before its own children.

    Args:
        descendants: tasks of its tree, in any order, with their call context; those that are not below it are left out.
    """
    return [*_own_spans(task), *_child_spans(task, descendants)]


def _own_spans(task: Task) -> Iterator[TimelineSpan]:
    free_at, number = task.created_at, 0
    for attempt in task.attempts:
        begins = attempt.started_at
        if begins is None:
            continue
        if attempt.number > number + 1:
            missing = f"attempt {number + 1}" + (
                f" to {attempt.number - 1}" if attempt.number > number + 2 else ""
            )
            yield TimelineSpan("wait", "…", free_at or begins, begins, f"{missing} not kept", "dim")
        elif free_at is not None and free_at < begins:
            yield TimelineSpan("wait", "wait", free_at, begins, style="dim")
        yield _attempt_span(attempt, begins)
        free_at, number = attempt.ended_at, attempt.number
    # An attempt that runs has no end.
    if free_at is None:
        return
    if not task.ended:
        yield TimelineSpan("wait", "wait", free_at, None, task.waits_for, "dim")
    elif task.finished_at is not None and task.finished_at > free_at and not _ended_by_attempt(task):
        yield TimelineSpan("wait", "wait", free_at, task.finished_at, error_text(task), "dim")


def _ended_by_attempt(task: Task) -> bool:
    """Whether the last attempt ended the task: the moments of both may differ by little."""
    return bool(task.attempts) and task.attempts[-1].status.code == task.status.code


def _attempt_span(attempt: Attempt, begins: datetime) -> TimelineSpan:
    words = attempt_outcome(attempt)
    failed = attempt.crashed or attempt.status.code
    style = "cyan" if attempt.ended_at is None else "red" if failed else "green"
    choice = f" ({attempt.choice})" if attempt.choice else ""
    return TimelineSpan(
        "attempt",
        f"attempt {attempt.number}",
        begins,
        attempt.ended_at,
        f"{attempt.agent_id}: {words}{choice}",
        style,
    )


def _child_spans(top: Task, tasks: Sequence[Task]) -> Iterator[TimelineSpan]:
    known = {top.id, *(task.id for task in tasks)}
    is_root = not top.proto.options.context.root_id
    below: dict[str, list[Task]] = {}
    for task in tasks:
        parent_id = task.proto.options.context.parent_id
        # A direct call, which is not stored, may be between a task and the root of its tree.
        below.setdefault(top.id if is_root and parent_id not in known else parent_id, []).append(task)
    waiting = [(child, 1) for child in _newest_first(below, top.id)]
    while waiting:
        task, at = waiting.pop()
        if task.created_at is not None:
            agent = f" on {task.agent_id}" if task.agent_id else ""
            error = error_text(task)
            yield TimelineSpan(
                "child",
                task.id,
                task.created_at,
                task.finished_at,
                f"{names.short(task.method)} {task.state.name}{agent}" + (f": {error}" if error else ""),
                STYLES.get(task.state.name, ""),
                at,
                task.id,
            )
        waiting += [(child, at + 1) for child in _newest_first(below, task.id)]


def _newest_first(below: dict[str, list[Task]], parent_id: str) -> list[Task]:
    # Removed: what others say of their parents may be a circle.
    return sorted(below.pop(parent_id, ()), key=lambda task: task.id, reverse=True)


def drawn(found: Sequence[TimelineSpan], width: int, now: datetime) -> list[StyledText]:
    """The timeline as lines for a terminal of this width: label, bar, length, words."""
    if not found:
        return []
    first = min(span.begins for span in found)
    whole_s = max(((span.ends or now) - first).total_seconds() for span in found)
    labels = [_label(span) for span in found]
    label_width = max(width_of(label) for label in labels)
    least, most = _BAR_COLUMNS
    room = width - label_width - _LENGTH_COLUMNS - 3
    columns = min(most, max(least, room - max(_WORDS_COLUMNS, room // 2)))
    scale = f"{'0 s':<{columns - 8}}{moments.span(max(whole_s, 0.0)):>8}"
    lines: list[StyledText] = [(" " * (label_width + 1), Styled(scale, "dim"))]
    for label, span in zip(labels, found, strict=True):
        ends = span.ends or now
        at, length = _place(span.begins, ends, first, whole_s, columns)
        head = label + " " * (label_width - width_of(label) + 1 + at)
        after = " " * (columns - at - length + 1)
        took = f"{moments.between(span.begins, ends):>{_LENGTH_COLUMNS}}"
        words = shortened(span.words, max(0, width - label_width - columns - _LENGTH_COLUMNS - 4))
        lines.append(
            (
                head,
                Styled(_SIGNS[span.kind] * length, span.style),
                f"{after}{took}" + (f"  {words}" if words else ""),
            )
        )
    return lines


def _label(span: TimelineSpan) -> str:
    return shortened("  " * span.depth + span.label, _LABEL_COLUMNS)


def _place(
    begins: datetime, ends: datetime, first: datetime, whole_s: float, columns: int
) -> tuple[int, int]:
    """The first column of a bar, and its length: at least one column, also of an instant."""
    if whole_s <= 0:
        return 0, 1
    at = min(columns - 1, max(0, int((begins - first).total_seconds() / whole_s * columns)))
    end = int((ends - first).total_seconds() / whole_s * columns + 0.5)
    return at, min(columns - at, max(1, end - at))
