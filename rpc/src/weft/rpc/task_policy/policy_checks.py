"""Checks the options of one method against its descriptor. Pure.

Faults are `InvalidArgument` with the option's path as `field`: the callers say which method it is, and where the options come
from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor, MethodDescriptor

from weft.rpc import refusals
from weft.rpc.contracts.descriptors import DURABLE_KINDS, method_kind, method_name
from weft.rpc.contracts.policy_options import FOR_DIRECT
from weft.rpc.enum_names import enum_name
from weft.rpc.errors import InvalidArgument
from weft.rpc.task_policy.key_paths import compile_key
from weft.rpc.task_policy.option_checks import (
    HIGHEST_PRIORITY,
    LEAST_LIMIT_S,
    LEAST_TTL_S,
    MAX_LOCK_NAME,
    MAX_LOCKS,
    check_consumes,
    check_lock_name,
    check_lock_state,
    check_requirements,
    check_retry,
    time_limit,
)
from weft.rpc.times import checked_duration
from weft.rpc.usage_units import check_budget
from weft.v1 import options_pb2

# A run limit with this key holds for each value of the fairness key.
BY_FAIRNESS_KEY = "fairness_key"
TIME_LIMITS = ("schedule_to_start", "start_to_close", "schedule_to_close")
MAX_SLOT_COST = 100_000
MAX_RUN_LIMITS = 8
# Characters.
MAX_METHOD = 512
MAX_FILTER = 1024
# Attempts a second.
MAX_RATE = 1e6

_METHOD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*/[A-Za-z_][A-Za-z0-9_]*")


def check_layer(policy: options_pb2.TaskPolicy, method: MethodDescriptor) -> None:
    """Refuse options, given in one place, that are too many or mean nothing for this method.

    Raises:
        InvalidArgument: `field` is the option.
    """
    if len(policy.run_limits) > MAX_RUN_LIMITS:
        raise _refused("run_limits", f"has {len(policy.run_limits)} limits; the most are {MAX_RUN_LIMITS}")
    if len(policy.locks) > MAX_LOCKS:
        raise _refused("locks", f"has {len(policy.locks)} locks; the most are {MAX_LOCKS}")
    if len(keeping := [lock.name for lock in policy.locks if lock.state]) > 1:
        raise _refused("locks", f"has {len(keeping)} locks that keep a state; a task has one state at most")
    _check_distinct("run_limits", "two limits with the key", (limit.key for limit in policy.run_limits))
    _check_distinct(
        "locks",
        "two locks with the name and key",
        (f"{lock.name}:{lock.key}" if lock.key else lock.name for lock in policy.locks),
    )
    if method_kind(method) not in DURABLE_KINDS:
        for descriptor, _ in policy.ListFields():
            if descriptor.name not in FOR_DIRECT:
                raise _refused(
                    descriptor.name,
                    "is for tasks, and a method with a stream of requests cannot be one: leave it out",
                )
        if policy.mode == options_pb2.CALL_MODE_DURABLE:
            raise _refused("mode", "is durable, but a method with a stream of requests can only be direct")


def check(policy: options_pb2.TaskPolicy, method: MethodDescriptor) -> None:
    """Refuse options with a value that means nothing.

    Raises:
        InvalidArgument: `field` is the option.
    """
    request = method.input_type
    if policy.HasField("retry"):
        check_retry(policy.retry, "retry")
    for name in TIME_LIMITS:
        time_limit(policy.limits, name, "limits", least_s=LEAST_LIMIT_S)
    if policy.priority > HIGHEST_PRIORITY:
        raise _refused("priority", f"is {policy.priority}; it must be 0 to {HIGHEST_PRIORITY}")
    if policy.slot_cost > MAX_SLOT_COST:
        raise _refused("slot_cost", f"is {policy.slot_cost}; the most is {MAX_SLOT_COST}")
    for name in ("result_ttl", "failure_ttl"):
        if policy.HasField(name):
            checked_duration(getattr(policy, name), name, least_s=LEAST_TTL_S)
    check_requirements(policy.requirements, "requirements")
    _check_enum(options_pb2.CallMode, policy.mode, "mode")
    _check_key(policy.idempotency_key, request, "idempotency_key")
    _check_key(policy.fairness_key, request, "fairness_key")
    for limit in policy.run_limits:
        _check_run_limit(limit, request)
    for lock in policy.locks:
        _check_lock(lock, request)
    check_consumes(policy.consumes, "consumes")
    check_budget(policy.budget, "budget")
    if policy.HasField("cache"):
        _check_cache(policy.cache, method)
    _check_fallback(policy.fallback, method)
    if len(policy.on_event.filter) > MAX_FILTER:
        raise _refused("on_event", f"has a filter of more than {MAX_FILTER} characters")


def _check_key(expression: str, request: Descriptor, option: str) -> None:
    if expression:
        compile_key(expression, request, option)


def _check_run_limit(limit: options_pb2.RunLimit, request: Descriptor) -> None:
    option = "run_limits"
    where = f"({limit.key[:MAX_LOCK_NAME]!r}) " if limit.key else ""
    # A NaN is refused too.
    if not 0.0 <= limit.max_rate_per_s <= MAX_RATE:
        raise _refused(
            option,
            f"{where}has max_rate_per_s {limit.max_rate_per_s:g}; it must be a number from 0 to {MAX_RATE:g}",
        )
    if not limit.max_running and not limit.max_rate_per_s:
        raise _refused(
            option,
            f"{where}limits nothing: max_running and max_rate_per_s are 0, which is no limit. Set one, or leave the"
            " limit out; `weft queues pause` stops a method",
        )
    if limit.burst and not limit.max_rate_per_s:
        raise _refused(option, f"{where}has a burst, but no max_rate_per_s")
    _check_enum(options_pb2.AtLimit, limit.at_limit, f"{option}.at_limit")
    at_limit = limit.at_limit or options_pb2.AT_LIMIT_QUEUE
    if at_limit != options_pb2.AT_LIMIT_QUEUE and not limit.max_running:
        name = enum_name(options_pb2.AtLimit, at_limit)
        raise _refused(
            option, f"{where}has at_limit {name}, which counts unfinished tasks: it needs max_running"
        )
    if limit.key != BY_FAIRNESS_KEY:
        _check_key(limit.key, request, f"{option}.key")


def _check_lock(lock: options_pb2.Lock, request: Descriptor) -> None:
    check_lock_name(lock.name, "locks")
    check_lock_state(lock, "locks")
    _check_key(lock.key, request, "locks.key")


def _check_cache(cache: options_pb2.CachePolicy, method: MethodDescriptor) -> None:
    if method.server_streaming:
        raise _refused(
            "cache", "is for methods with one response, and this one answers with a stream: leave it out"
        )
    if not cache.HasField("ttl"):
        raise _refused("cache", "has no ttl: say how long a result is reused")
    checked_duration(cache.ttl, "cache.ttl", least_s=LEAST_TTL_S)


def _check_fallback(name: str, method: MethodDescriptor) -> None:
    if name and (len(name) > MAX_METHOD or not _METHOD.fullmatch(name)):
        raise _refused(
            "fallback", f"is {name[:MAX_METHOD]!r}; write a full name such as acme.v1.Greeter/Greet"
        )
    if name == method_name(method):
        raise _refused("fallback", "is the method itself")


def _check_enum(enum: object, number: int, option: str) -> None:
    # The stub's type of an enum does not show that of its wrapper.
    known: Iterable[int] = enum.values()  # type: ignore[attr-defined]
    if number not in known:
        raise _refused(option, f"is {number}, which this coordinator does not know")


def _check_distinct(option: str, what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise _refused(option, f"has {what} {value[:MAX_LOCK_NAME]!r}")
        seen.add(value)


def _refused(option: str, why: str) -> InvalidArgument:
    return refusals.invalid_field(f"{option} {why}", field=option)
