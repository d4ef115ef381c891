"""Checks the options that calls and task policies share: retry policies, time limits, requirements, consumed resources, locks.
Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from weft.rpc import refusals
from weft.rpc.times import MAX_DURATION_S, checked_duration
from weft.v1 import options_pb2

HIGHEST_PRIORITY = 9
MAX_ATTEMPTS = 1000
MAX_REQUIREMENTS = 64
MAX_LOCKS = 8
MAX_BACKOFF_S = 86400.0
# A limit of nothing would end each task at once.
LEAST_LIMIT_S = 0.001
# Request ids that coordinators make begin so, of cached requests, groups' callbacks, schedules' tasks, imported tasks, events, hooks
# and remembered child calls. Callers' own ones may not.
CACHE_ID = "cache:"
CALLBACK_ID = "group:"
SCHEDULE_ID = "schedule."
IMPORT_ID = "import:"
EVENT_ID = "event:"
HOOK_ID = "hook:"
STEP_ID = "step:"
RESERVED_IDS = (CACHE_ID, CALLBACK_ID, SCHEDULE_ID, IMPORT_ID, EVENT_ID, HOOK_ID, STEP_ID)
# Time limits that a caller may have set. They say nothing to those who share a task only because of a cache.
CALLERS_LIMITS = ("schedule_to_start", "schedule_to_close")
LEAST_TTL_S = 1.0
# Characters.
MAX_LOCK_NAME = 128
# The coordinator puts it into the requirements of tasks that belong to a sticky session.
SESSION_LABEL = "weft.session"
MAX_KEY = 128
MAX_VALUE = 256


def check_retry(policy: options_pb2.RetryPolicy, option: str) -> None:
    """
    Args:
        option: the path of the option, for refusals.

    Raises:
        InvalidArgument: a part is outside its range; `field` is its path.
    """
    if policy.max_attempts > MAX_ATTEMPTS:
        raise refusals.invalid_field(
            f"{option}.max_attempts is {policy.max_attempts}; the most is {MAX_ATTEMPTS}",
            field=f"{option}.max_attempts",
        )
    if policy.HasField("max_crashes") and policy.max_crashes > MAX_ATTEMPTS:
        raise refusals.invalid_field(
            f"{option}.max_crashes is {policy.max_crashes}; the most is {MAX_ATTEMPTS}",
            field=f"{option}.max_crashes",
        )
    multiplier = policy.backoff_multiplier
    if multiplier and (math.isnan(multiplier) or not 1 <= multiplier <= 1000):
        raise refusals.invalid_field(
            f"{option}.backoff_multiplier is {multiplier:g}; it must be 1 to 1000",
            field=f"{option}.backoff_multiplier",
        )
    if not all(0 < code <= 16 for code in policy.retryable_codes):
        raise refusals.invalid_field(
            f"{option}.retryable_codes holds a number that is no gRPC error code (1 to 16)",
            field=f"{option}.retryable_codes",
        )
    for name in ("initial_backoff", "max_backoff"):
        if policy.HasField(name):
            checked_duration(getattr(policy, name), f"{option}.{name}", most_s=MAX_BACKOFF_S)


def check_requirements(message: options_pb2.Requirements, option: str) -> None:
    """
    Raises:
        InvalidArgument: too many, an empty key, or an amount that is no number of zero or more; `field` is the path.
    """
    if len(message.labels) + len(message.resources) > MAX_REQUIREMENTS:
        raise refusals.invalid_field(f"{option} has more than {MAX_REQUIREMENTS} entries", field=option)
    if SESSION_LABEL in message.labels:
        raise refusals.invalid_field(
            f"{option}: the label {SESSION_LABEL} is weft's own: name the session in options.session",
            field=f"{option}.labels",
        )
    for key, value in message.labels.items():
        if not 1 <= len(key) <= MAX_KEY or len(value) > MAX_VALUE:
            raise refusals.invalid_field(
                f"{option}: label {key[:MAX_KEY]!r} needs a key of 1 to {MAX_KEY} characters and a value of at most {MAX_VALUE}",
                field=f"{option}.labels",
            )
    for key, amount in message.resources.items():
        check_amount(key, amount, f"{option}.resources")


def check_amount(resource: str, amount: float, option: str) -> None:
    """
    Raises:
        InvalidArgument: the resource's name or the amount is outside its range.
    """
    if not 1 <= len(resource) <= MAX_KEY or not (math.isfinite(amount) and amount >= 0):
        raise refusals.invalid_field(
            f"{option}: resource {resource[:MAX_KEY]!r} needs a key of 1 to {MAX_KEY} characters and a finite amount of 0 or more",
            field=option,
        )


def check_consumes(amounts: Mapping[str, float], option: str) -> None:
    """
    Raises:
        InvalidArgument: too many, or an amount of a resource that is no number above zero.
    """
    if len(amounts) > MAX_REQUIREMENTS:
        raise refusals.invalid_field(f"{option} has more than {MAX_REQUIREMENTS} entries", field=option)
    for resource, amount in amounts.items():
        check_amount(resource, amount, option)
        if not amount:
            raise refusals.invalid_field(
                f"{option} has the amount 0 of {resource!r}: leave it out", field=option
            )


def check_lock_name(name: str, option: str) -> None:
    """
    Raises:
        InvalidArgument: the name is empty or too long.
    """
    if not 1 <= len(name) <= MAX_LOCK_NAME:
        raise refusals.invalid_field(
            f"{option} has a name of {len(name)} characters; it must be 1 to {MAX_LOCK_NAME} characters",
            field=option,
        )


def check_lock_state(lock: options_pb2.Lock, option: str) -> None:
    """
    Raises:
        InvalidArgument: a shared lock is to keep a state, which its holders would change at the same time.
    """
    if lock.state and lock.shared:
        raise refusals.invalid_field(
            f"{option}: the lock {lock.name[:MAX_LOCK_NAME]!r} is shared and keeps a state: one task at a time may change it, so leave"
            " out shared",
            field=option,
        )


def time_limit(
    limits: options_pb2.TimeLimits, name: str, option: str, *, least_s: float = 0.0
) -> float | None:
    """One of the time limits in seconds; None: it is not set.

    Raises:
        InvalidArgument: it is malformed, or outside its range; `field` is the path.
    """
    if not limits.HasField(name):
        return None
    return checked_duration(getattr(limits, name), f"{option}.{name}", least_s=least_s, most_s=MAX_DURATION_S)
