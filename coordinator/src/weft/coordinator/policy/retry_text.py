"""A retry policy as one line of text, as metadata carries it: `max_attempts=5,codes=UNAVAILABLE|INTERNAL,initial_backoff=0.1s`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from google.rpc import code_pb2

from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument
from weft.rpc.task_policy.option_checks import check_retry
from weft.rpc.times import duration
from weft.v1 import options_pb2

# Shown in refusals.
EXAMPLE = "max_attempts=5,codes=UNAVAILABLE|INTERNAL,initial_backoff=0.1s,max_backoff=30s"
MAX_CHARS = 512

_WHOLE = re.compile(r"\d{1,9}", re.ASCII)
_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def seconds_of(text: str) -> float:
    """Seconds, with or without a trailing "s".

    Raises:
        ValueError: it is none.
    """
    return _number(text.removesuffix("s"))


def from_text(text: str, field: str) -> options_pb2.RetryPolicy:
    """A checked retry policy.

    Raises:
        InvalidArgument: a part is unknown, malformed or outside its range; `field` is as given.
    """
    policy = options_pb2.RetryPolicy()
    if len(text) > MAX_CHARS:
        raise _refused(field, f"has {len(text)} characters; the most are {MAX_CHARS}")
    seen: set[str] = set()
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        read = _PARTS.get(name)
        if read is None or not equals:
            raise _refused(field, f"has {part!r}; it must be like {EXAMPLE}, with {', '.join(_PARTS)}")
        if name in seen:
            raise _refused(field, f"has {name} twice")
        seen.add(name)
        try:
            read(policy, value)
        except ValueError:
            raise _refused(field, f"has {part!r}; it must be like {EXAMPLE}") from None
    try:
        check_retry(policy, field)
    except InvalidArgument as error:
        raise refusals.invalid_field(error.message, field=field) from None
    return policy


def _max_attempts(policy: options_pb2.RetryPolicy, value: str) -> None:
    # 0 would be the default.
    policy.max_attempts = _whole(value, least=1)


def _max_crashes(policy: options_pb2.RetryPolicy, value: str) -> None:
    policy.max_crashes = _whole(value, least=0)


def _codes(policy: options_pb2.RetryPolicy, value: str) -> None:
    for code in value.split("|"):
        name = code.strip()
        number = _whole(name, least=1) if name.isdecimal() else code_pb2.Code.Value(name.upper())
        policy.retryable_codes.append(number)


def _initial_backoff(policy: options_pb2.RetryPolicy, value: str) -> None:
    policy.initial_backoff.CopyFrom(duration(seconds_of(value)))


def _max_backoff(policy: options_pb2.RetryPolicy, value: str) -> None:
    policy.max_backoff.CopyFrom(duration(seconds_of(value)))


def _multiplier(policy: options_pb2.RetryPolicy, value: str) -> None:
    policy.backoff_multiplier = _number(value)
    # 0 would be the default.
    if not policy.backoff_multiplier:
        raise ValueError


def _number(text: str) -> float:
    if len(text) > MAX_CHARS or not _NUMBER.fullmatch(text):
        raise ValueError
    return float(text)


def _whole(value: str, *, least: int) -> int:
    if not _WHOLE.fullmatch(value) or int(value) < least:
        raise ValueError
    return int(value)


def _refused(field: str, why: str) -> InvalidArgument:
    return refusals.invalid_field(f"{field} {why}", field=field)


_PARTS: Mapping[str, Callable[[options_pb2.RetryPolicy, str], None]] = {
    "max_attempts": _max_attempts,
    "codes": _codes,
    "initial_backoff": _initial_backoff,
    "max_backoff": _max_backoff,
    "backoff_multiplier": _multiplier,
    "max_crashes": _max_crashes,
}
