"""Submissions and their alternatives: what a submission says of its method, and the submission at another one. Pure."""

from __future__ import annotations

from dataclasses import replace

from weft.coordinator.store.alternatives import Alternative
from weft.coordinator.store.records import Submission


def alternative_of(submission: Submission) -> Alternative:
    """What a submission says of its method."""
    return Alternative(
        submission.method,
        submission.requirements,
        submission.retry,
        submission.schedule_to_start_s,
        submission.start_to_close_s,
        submission.limit_keys,
        submission.locks,
    )


def at_alternative(submission: Submission, at: int) -> Submission:
    """The submission as its alternative `at` has it."""
    return replace(submission, alternative=at, **submission.alternatives[at]._asdict())


def begin_at(submission: Submission, at: int) -> None:
    """Let a new submission begin at its alternative `at`."""
    submission.alternative = at
    for name, value in submission.alternatives[at]._asdict().items():
        setattr(submission, name, value)
