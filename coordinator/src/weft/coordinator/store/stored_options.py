"""What a submission says beyond its defaults, in a form to be stored: time limits of an attempt, TTLs, retry policy.

Pure. What is not named here has a place of its own in each store: method, priority, requirements, the task's limits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import TaskRetryPolicy


class StoredOptions(NamedTuple):
    """What is said of them."""

    start_to_close_s: float | None
    result_ttl_s: float
    failure_ttl_s: float
    request_id_ttl_s: float
    retry: TaskRetryPolicy


def given(submission: Submission) -> StoredOptions:
    return StoredOptions(
        submission.start_to_close_s,
        submission.result_ttl_s,
        submission.failure_ttl_s,
        submission.request_id_ttl_s,
        submission.retry,
    )


_DEFAULTS = given(Submission(""))


def encode(given: StoredOptions) -> dict[str, Any]:
    """The options that are not default, as JSON has them."""
    encoded: dict[str, Any] = {
        name: value
        for name, value, default in zip(StoredOptions._fields, given, _DEFAULTS, strict=True)
        if value != default
    }
    if "retry" in encoded:
        retry = given.retry
        encoded["retry"] = [
            retry.max_attempts,
            retry.initial_backoff_s,
            retry.max_backoff_s,
            retry.backoff_multiplier,
            sorted(retry.retryable_codes),
            retry.max_crashes,
        ]
    return encoded


def decode(options: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `Submission` behind encoded options; others among them stay as they are."""
    if "retry" not in options:
        return options
    attempts, initial_s, most_s, multiplier, codes, crashes = options["retry"]
    retry = TaskRetryPolicy(attempts, initial_s, most_s, multiplier, frozenset(codes), crashes)
    return options | {"retry": retry}
