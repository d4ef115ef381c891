"""The options that are stored with each task, in full: a default that changes later does not change stored tasks.

    1h 7d 1d 5 .1 30 2 14 3

The text has one word for each of `FIELDS`, in order: "-" for an unset one, nothing for unset last ones. It is short, because
each task has it. The scripts of the Redis store read the same text. Method, priority, requirements and the task's own limits
have columns or fields of their own. Pure.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, NamedTuple

from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import TaskRetryPolicy

# The words of the text. A new one comes last; older tasks have it unset.
FIELDS = (
    "result_ttl_s",
    "failure_ttl_s",
    "request_id_ttl_s",
    "max_attempts",
    "initial_backoff_s",
    "max_backoff_s",
    "backoff_multiplier",
    "retryable_codes",
    "max_crashes",
    "start_to_close_s",
)
_UNSET = "-"
# Units that make a word shorter.
UNITS = {"d": 86400, "h": 3600}
# Larger numbers are not exact in units.
_EXACT = 1 << 53
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
    retry = options.retry
    values = (
        options.result_ttl_s,
        options.failure_ttl_s,
        options.request_id_ttl_s,
        retry.max_attempts,
        retry.initial_backoff_s,
        retry.max_backoff_s,
        retry.backoff_multiplier,
        retry.retryable_codes,
        retry.max_crashes,
        options.start_to_close_s,
    )
    return " ".join(map(_word, values)).removesuffix(f" {_UNSET}")


@lru_cache(_REMEMBERED)
def decode(text: str) -> StoredOptions:
    """The options behind a stored text."""
    *words, codes, crashes, to_close_s = [*text.split(), _UNSET][: len(FIELDS)]
    result_ttl_s, failure_ttl_s, request_id_ttl_s, attempts, initial_s, most_s, multiplier = map(
        _number, words
    )
    retryable = frozenset(map(int, codes.split(","))) if codes != _UNSET else frozenset[int]()
    return StoredOptions(
        None if to_close_s == _UNSET else _number(to_close_s),
        result_ttl_s,
        failure_ttl_s,
        request_id_ttl_s,
        TaskRetryPolicy(int(attempts), initial_s, most_s, multiplier, retryable, int(_number(crashes))),
    )


def decode_earlier(text: str | None) -> StoredOptions:
    """The options of a task of an earlier layout: JSON of those that were not the default, or nothing."""
    given: dict[str, Any] = json.loads(text) if text else {}
    if "retry" in given:
        attempts, initial_s, most_s, multiplier, codes, crashes = given["retry"]
        given["retry"] = TaskRetryPolicy(attempts, initial_s, most_s, multiplier, frozenset(codes), crashes)
    return LEFT_OUT._replace(**{name: given[name] for name in LEFT_OUT._fields if name in given})


def _number(word: str) -> float:
    unit = UNITS.get(word[-1])
    return float(word) if unit is None else float(word[:-1]) * unit


def _word(value: float | frozenset[int] | None) -> str:
    if value is None:
        return _UNSET
    if isinstance(value, frozenset):
        return ",".join(map(str, sorted(value))) or _UNSET
    if not float(value).is_integer():
        return repr(value).removeprefix("0")
    for unit, size in UNITS.items():
        if 0 < value < _EXACT and value % size == 0:
            return f"{int(value) // size}{unit}"
    return str(int(value))
