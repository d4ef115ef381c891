"""What a submission says beyond its defaults, in a form to be stored: time limits of an attempt, TTLs, retry policy.

Pure. What is not named here has a place of its own in each store: method, priority, requirements, the task's limits.
"""

from __future__ import annotations

from typing import Any

from weft.coordinator.rules import DEFAULT_RETRY, RetryPolicy
from weft.coordinator.store.records import Submission

_DEFAULTS = Submission("")
_SECONDS = ("start_to_close_s", "result_ttl_s", "failure_ttl_s")


def encode(submission: Submission) -> dict[str, Any]:
    """The options that are not default, as JSON has them."""
    options: dict[str, Any] = {
        name: getattr(submission, name)
        for name in _SECONDS
        if getattr(submission, name) != getattr(_DEFAULTS, name)
    }
    retry = submission.retry
    if retry != DEFAULT_RETRY:
        options["retry"] = [
            retry.max_attempts,
            retry.initial_backoff_s,
            retry.max_backoff_s,
            retry.backoff_multiplier,
            sorted(retry.retryable_codes),
            retry.max_crashes,
        ]
    return options


def decode(options: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `Submission` behind encoded options; others among them stay as they are."""
    if "retry" not in options:
        return options
    attempts, initial_s, most_s, multiplier, codes, crashes = options["retry"]
    retry = RetryPolicy(attempts, initial_s, most_s, multiplier, frozenset(codes), crashes)
    return options | {"retry": retry}
