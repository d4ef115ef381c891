"""Why an agent had an attempt: by tables."""

from __future__ import annotations

import pytest

from weft.coordinator.fleet.agent_standing import AgentStanding
from weft.coordinator.fleet.attempt_choice import retry_choices, running_choice
from weft.coordinator.store.records import AttemptRecord


def attempt(number: int, agent_id: str, how: str = "") -> AttemptRecord:
    ended_at = None if how == "runs" else 2.0
    return AttemptRecord(
        number, agent_id, 1.0, ended_at, crashed=how == "crashed", released=how == "released"
    )


@pytest.mark.parametrize(
    ("attempts", "choices"),
    [
        ([], []),
        ([attempt(1, "a")], [""]),
        ([attempt(1, "a"), attempt(2, "b", "runs")], ["", "another agent than a, where attempt 1 failed"]),
        (
            [attempt(1, "a", "crashed"), attempt(2, "a")],
            ["", "the same agent again, though attempt 1 was lost: no other had a free slot for it"],
        ),
        ([attempt(1, "a", "released"), attempt(1, "b")], ["", ""]),
        (
            [attempt(1, "a"), attempt(2, "b", "released"), attempt(2, "a", "runs")],
            ["", "another agent than a, where attempt 1 failed", ""],
        ),
    ],
)
def test_a_retry_says_why_its_agent_had_it(attempts: list[AttemptRecord], choices: list[str]) -> None:
    assert retry_choices(attempts) == choices


@pytest.mark.parametrize(
    ("choice", "failing", "told"),
    [
        ("", (), ""),
        ("another", (), "another"),
        ("", ("a3",), "one of 2 agents; a3 left out, because attempts there keep failing"),
        ("another", ("a3",), "another; a3 left out, because attempts there keep failing"),
        (
            "",
            ("a1", "a2", "a3", "a4"),
            "one of 2 agents; a1, a2, a3 and 1 more left out, because attempts there keep failing",
        ),
    ],
)
def test_a_running_attempt_says_who_was_left_out(choice: str, failing: tuple[str, ...], told: str) -> None:
    assert running_choice(choice, AgentStanding(9, 9, 2, 2, failing)) == told
