"""A task's timeline: which waits, attempts and child tasks it has, and how they are drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from google.rpc import code_pb2, status_pb2

from weft.cli.rendering.timeline import TimelineSpan, drawn, spans
from weft.cli.terminal.output import plain
from weft.cli.terminal.tables import width_of
from weft.client import Task
from weft.rpc.times import timestamp
from weft.v1 import task_pb2

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
METHOD = "acme.v1.Billing/Charge"
Times = tuple[int, str, float, float | None, int]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def task(
    task_id: str = "1",
    *attempts: Times,
    state: str = "SUCCEEDED",
    created: float = 0,
    finished: float | None = None,
    parent: str = "",
    code: int = 0,
) -> Task:
    """A task with attempts: number, agent, begin, end, code."""
    made = task_pb2.Task(
        id=task_id, method=METHOD, state=f"TASK_STATE_{state}", create_time=timestamp(at(created).timestamp())
    )
    made.options.context.parent_id = parent
    made.outcome.status.CopyFrom(status_pb2.Status(code=code, message="no card" if code else ""))
    if finished is not None:
        made.finish_time.CopyFrom(timestamp(at(finished).timestamp()))
    for number, agent_id, begin, end, ended in attempts:
        one = made.attempts.add(number=number, agent_id=agent_id, start_time=timestamp(at(begin).timestamp()))
        if end is not None:
            one.end_time.CopyFrom(timestamp(at(end).timestamp()))
            one.status.CopyFrom(status_pb2.Status(code=ended, message="down" if ended else ""))
    return Task(made)


def told(found: list[TimelineSpan]) -> list[tuple[str, float, float | None, str]]:
    def since(moment: datetime) -> float:
        return (moment - START).total_seconds()

    return [
        (span.label, since(span.begins), None if span.ends is None else since(span.ends), span.words)
        for span in found
    ]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (
            task("1", (1, "a1", 0.5, 2, code_pb2.UNAVAILABLE), (2, "a2", 3, 4, 0), finished=4),
            [
                ("wait", 0, 0.5, ""),
                ("attempt 1", 0.5, 2, "a1: UNAVAILABLE: down"),
                ("wait", 2, 3, ""),
                ("attempt 2", 3, 4, "a2: OK"),
            ],
        ),
        # It runs.
        (task("1", (1, "a1", 0, None, 0), state="RUNNING"), [("attempt 1", 0, None, "a1: running")]),
        # Its first 16 attempts are all but the newest that are kept.
        (
            task("1", (1, "a1", 0, 1, 14), (4, "a1", 5, 6, 0), finished=6),
            [
                ("attempt 1", 0, 1, "a1: UNAVAILABLE: down"),
                ("…", 1, 5, "attempt 2 to 3 not kept"),
                ("attempt 4", 5, 6, "a1: OK"),
            ],
        ),
        # Its deadline ended it while it waited.
        (
            task(state="FAILED", finished=9, code=code_pb2.DEADLINE_EXCEEDED),
            [("wait", 0, 9, "DEADLINE_EXCEEDED: no card")],
        ),
        # Cancelled after a failed attempt.
        (
            task("1", (1, "a1", 0, 1, 14), state="CANCELLED", finished=2, code=code_pb2.CANCELLED),
            [("attempt 1", 0, 1, "a1: UNAVAILABLE: down"), ("wait", 1, 2, "CANCELLED: no card")],
        ),
        # The end is stored a little after the attempt's.
        (task("1", (1, "a1", 0, 1, 0), finished=1.001), [("attempt 1", 0, 1, "a1: OK")]),
        (task(state="QUEUED"), [("wait", 0, None, "")]),
    ],
)
def test_waits_and_attempts(one: Task, expected: list[tuple[str, float, float | None, str]]) -> None:
    assert told(spans(one)) == expected


def test_an_attempt_released_unstarted_uses_its_number_again() -> None:
    one = task("1", (1, "a1", 0, 1, 0), (1, "a2", 2, 3, 0), finished=3)
    one.proto.attempts[0].released = True
    assert [label for label, *_ in told(spans(one))] == ["attempt 1", "wait", "attempt 1"]


def test_tasks_below_come_depth_first_and_others_not_at_all() -> None:
    below = [
        task("7", created=3, parent="6"),  # beside it: of a task above it
        task("5", created=2, parent="2", finished=3),
        task("3", created=1, parent="1", state="FAILED", finished=4, code=code_pb2.INTERNAL),
        task("2", created=1, parent="1", finished=4),
        task("1", created=1, parent="5"),  # a circle
    ]
    one = task("1", (1, "a1", 0, 5, 0), finished=5)
    one.proto.options.context.root_id = "6"
    found = spans(one, below)
    assert [(span.depth, span.task_id) for span in found] == [(0, ""), (1, "2"), (2, "5"), (3, "1"), (1, "3")]
    assert found[-1].words == "Billing/Charge FAILED: INTERNAL: no card"


def test_a_task_below_a_direct_call_is_below_the_root() -> None:
    below = [task("2", created=1, parent="a direct call's id"), task("3", created=2, parent="2")]
    found = spans(task("1", (1, "a1", 0, 5, 0), finished=5), below)
    assert [(span.depth, span.task_id) for span in found] == [(0, ""), (1, "2"), (2, "3")]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_lines_fit_and_bars_are_to_scale(width: int) -> None:
    one = task("1", (1, "agent-1", 2, 4, code_pb2.UNAVAILABLE), (2, "agent-2", 4, 10, 0), finished=10)
    lines = [
        plain(each)
        for each in drawn(
            spans(one, [task("19859be730a6f94a", created=5, parent="1", finished=5)]), width, at(10)
        )
    ]
    assert all(width_of(text) <= width for text in lines), lines
    wait, first, second, child = lines[1:]
    assert wait.count("░") / second.count("█") == pytest.approx(2 / 6, rel=0.3)
    assert first.count("█") == pytest.approx(wait.count("░"), abs=1)
    assert child.count("▒") == 1
    assert second.index("█") > first.rindex("█")
    assert "2.0 s" in first
    assert "19859be730a6f94a" in child


def test_an_instant_has_a_bar() -> None:
    one = spans(task("1", (1, "a1", 0, 0, 0), finished=0))
    assert "█" in plain(drawn(one, 80, at(0))[1])
    assert drawn([], 80, at(0)) == []
