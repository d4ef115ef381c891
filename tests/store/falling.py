"""Submissions with fallbacks, and where a task is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.store.support import METHOD, OTHER_METHOD, Harness
from weft.coordinator.store.alternatives import Alternative
from weft.coordinator.store.falling_back import alternative_of
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import State, TaskRetryPolicy

THIRD = "acme.v1.Analyst/Guess"
ONCE = TaskRetryPolicy(max_attempts=1, max_crashes=0)
TWICE = TaskRetryPolicy(max_attempts=2, initial_backoff_s=0.0, max_crashes=1)


def falling(*further: Alternative, **fields: Any) -> Submission:
    """A submission with fallbacks."""
    given = replace(Submission(METHOD, b"p", retry=ONCE), **fields)
    steps = further or (Alternative(OTHER_METHOD, retry=TWICE),)
    return replace(given, alternatives=(alternative_of(given), *steps))


async def shown(h: Harness, task_id: str) -> tuple[str, str, State]:
    record = await h.record(task_id)
    return record.submission.method, record.submission.fallback_of, record.state
