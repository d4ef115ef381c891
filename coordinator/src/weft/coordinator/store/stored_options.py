"""The options that are stored with each task, in full: a default that changes later does not change stored tasks.

    - 3600 604800 86400 5 0.1 30 2 14 3

The text has one word for each of `FIELDS`, in order; "-" is an unset one. The scripts of the Redis store read the same
text. Method, priority, requirements and the task's own limits have columns or fields of their own. Pure.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NamedTuple

from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import TaskRetryPolicy

# The words of the text. A later one comes last, with a value for older tasks.
FIELDS = (
    "start_to_close_s",
    "result_ttl_s",
    "failure_ttl_s",
    "request_id_ttl_s",
    "max_attempts",
    "initial_backoff_s",
    "max_backoff_s",
    "backoff_multiplier",
    "retryable_codes",
    "max_crashes",
)
_UNSET = "-"
# Different options that are remembered.
_REMEMBERED = 1024


class StoredOptions(NamedTuple):
    """The options of a task, by the names that `Submission` has for them."""

    start_to_close_s: float | None
    result_ttl_s: float
    failure_ttl_s: float
    request_id_ttl_s: float
    retry: TaskRetryPolicy


# Earlier layouts left out each option that was the default. These were the defaults then: they never change.
LEFT_OUT = StoredOptions(
    None, 3600.0, 7 * 86400.0, 86400.0, TaskRetryPolicy(5, 0.1, 30.0, 2.0, frozenset({14}), 3)
)


def options_of(submission: Submission) -> StoredOptions:
    return StoredOptions(
        submission.start_to_close_s,
        submission.result_ttl_s,
        submission.failure_ttl_s,
        submission.request_id_ttl_s,
        submission.retry,
    )


@lru_cache(_REMEMBERED)
def encode(options: StoredOptions) -> str:
    """The text that is stored."""
    *plain, retry = options
    policy = (
        retry.max_attempts,
        retry.initial_backoff_s,
        retry.max_backoff_s,
        retry.backoff_multiplier,
        retry.retryable_codes,
        retry.max_crashes,
    )
    return " ".join(map(_word, (*plain, *policy)))


@lru_cache(_REMEMBERED)
def decode(text: str) -> StoredOptions:
    """The options behind a stored text."""
    words = text.split()
    to_close_s, result_ttl_s, failure_ttl_s, request_id_ttl_s = map(_number, words[:4])
    initial_s, most_s, multiplier = map(float, words[5:8])
    codes = frozenset(map(int, words[8].split(","))) if words[8] != _UNSET else frozenset[int]()
    return StoredOptions(
        to_close_s,
        result_ttl_s or 0.0,
        failure_ttl_s or 0.0,
        request_id_ttl_s or 0.0,
        TaskRetryPolicy(int(words[4]), initial_s, most_s, multiplier, codes, int(words[9])),
    )


def decode_earlier(text: str | None) -> StoredOptions:
    """The options of a task of an earlier layout: JSON of those that were not the default, or nothing."""
    given: dict[str, Any] = json.loads(text) if text else {}
    if "retry" in given:
        attempts, initial_s, most_s, multiplier, codes, crashes = given["retry"]
        given["retry"] = TaskRetryPolicy(attempts, initial_s, most_s, multiplier, frozenset(codes), crashes)
    return LEFT_OUT._replace(**{name: given[name] for name in LEFT_OUT._fields if name in given})


def _number(word: str) -> float | None:
    return None if word == _UNSET else float(word)


def _word(value: float | frozenset[int] | None) -> str:
    if value is None:
        return _UNSET
    if isinstance(value, frozenset):
        return ",".join(map(str, sorted(value))) or _UNSET
    return str(int(value)) if float(value).is_integer() else repr(value)
