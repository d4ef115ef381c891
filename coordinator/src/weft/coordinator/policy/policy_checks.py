"""Checks the options of one method against its descriptor, and compiles them to a `MethodPolicy`. Pure.

Faults are `InvalidArgument` with the option's path as `field`: the reader of contracts and the door of overrides say which
method it is, and where the options come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from google.protobuf.descriptor import Descriptor, MethodDescriptor

from weft.coordinator.policy.key_paths import Key, compile_key
from weft.coordinator.policy.method_policy import (
    TIME_LIMITS,
    LockOption,
    MethodPolicy,
    RunLimitOption,
)
from weft.coordinator.policy.option_values import (
    LEAST_LIMIT_S,
    LEAST_TTL_S,
    MAX_REQUIREMENTS,
    check_amount,
    requirements,
    retry_policy,
    time_limit,
)
from weft.coordinator.store.rules import HIGHEST_PRIORITY, Requirements
from weft.coordinator.store.run_limits import FAIRNESS_KEY, LimitAction, RunLimitRule
from weft.rpc import refusals
from weft.rpc.contracts.descriptors import DURABLE_KINDS, method_kind, method_name
from weft.rpc.errors import InvalidArgument
from weft.rpc.times import checked_duration
from weft.v1 import options_pb2

MAX_SLOT_COST = 100_000
MAX_RUN_LIMITS = 8
MAX_LOCKS = 8
# Characters.
MAX_LOCK_NAME = 128
MAX_METHOD = 512
# Attempts a second.
MAX_RATE = 1e6

_METHOD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*/[A-Za-z_][A-Za-z0-9_]*")
# What options of a method with a stream of requests may say: its calls are direct.
_FOR_DIRECT = frozenset({"mode", "slot_cost", "check_rules"})


def check_layer(policy: options_pb2.TaskPolicy, method: MethodDescriptor) -> None:
    """Refuse options, given in one place, that are too many or mean nothing for this method.

    Raises:
        InvalidArgument: `field` is the option.
    """
    if len(policy.run_limits) > MAX_RUN_LIMITS:
        raise _refused("run_limits", f"has {len(policy.run_limits)} limits; the most are {MAX_RUN_LIMITS}")
    if len(policy.locks) > MAX_LOCKS:
        raise _refused("locks", f"has {len(policy.locks)} locks; the most are {MAX_LOCKS}")
    _check_distinct("run_limits", "two limits with the key", (limit.key for limit in policy.run_limits))
    _check_distinct(
        "locks",
        "two locks with the name and key",
        (f"{lock.name}:{lock.key}" if lock.key else lock.name for lock in policy.locks),
    )
    if method_kind(method) not in DURABLE_KINDS:
        for descriptor, _ in policy.ListFields():
            if descriptor.name not in _FOR_DIRECT:
                raise _refused(
                    descriptor.name,
                    "is for tasks, and a method with a stream of requests cannot be one: leave it out",
                )
        if policy.mode == options_pb2.CALL_MODE_DURABLE:
            raise _refused("mode", "is durable, but a method with a stream of requests can only be direct")


def compiled(policy: options_pb2.TaskPolicy, method: MethodDescriptor) -> MethodPolicy:
    """The options as calls use them.

    Raises:
        InvalidArgument: an option has a value that means nothing; `field` is the option.
    """
    request = method.input_type
    limits = {name: time_limit(policy.limits, name, "limits", least_s=LEAST_LIMIT_S) for name in TIME_LIMITS}
    return MethodPolicy(
        method=method_name(method),
        options=policy,
        retry=retry_policy(policy.retry, "retry") if policy.HasField("retry") else None,
        schedule_to_start_s=limits["schedule_to_start"],
        start_to_close_s=limits["start_to_close"],
        schedule_to_close_s=limits["schedule_to_close"],
        priority=_priority(policy),
        slot_cost=_slot_cost(policy),
        result_ttl_s=_ttl(policy, "result_ttl"),
        failure_ttl_s=_ttl(policy, "failure_ttl"),
        requirements=_requirements(policy),
        direct=_mode(policy) == options_pb2.CALL_MODE_DIRECT,
        idempotency_key=_key(policy.idempotency_key, request, "idempotency_key"),
        fairness_key=_key(policy.fairness_key, request, "fairness_key"),
        run_limits=tuple(_run_limit(limit, request) for limit in policy.run_limits),
        locks=tuple(_lock(lock, request) for lock in policy.locks),
        cache_ttl_s=_cache_ttl(policy),
        fallback=_fallback(policy, method),
        no_wait=policy.no_wait if policy.HasField("no_wait") else None,
        check_rules=policy.check_rules if policy.HasField("check_rules") else True,
    )


def _priority(policy: options_pb2.TaskPolicy) -> int | None:
    if not policy.HasField("priority"):
        return None
    if policy.priority > HIGHEST_PRIORITY:
        raise _refused("priority", f"is {policy.priority}; it must be 0 to {HIGHEST_PRIORITY}")
    return policy.priority


def _slot_cost(policy: options_pb2.TaskPolicy) -> int:
    if policy.slot_cost > MAX_SLOT_COST:
        raise _refused("slot_cost", f"is {policy.slot_cost}; the most is {MAX_SLOT_COST}")
    return policy.slot_cost


def _ttl(policy: options_pb2.TaskPolicy, name: str) -> float | None:
    if not policy.HasField(name):
        return None
    return checked_duration(getattr(policy, name), name, least_s=LEAST_TTL_S)


def _mode(policy: options_pb2.TaskPolicy) -> int:
    _check_enum(options_pb2.CallMode, policy.mode, "mode")
    return policy.mode


def _key(expression: str, request: Descriptor, option: str) -> Key | None:
    return compile_key(expression, request, option) if expression else None


def _run_limit(limit: options_pb2.RunLimit, request: Descriptor) -> RunLimitOption:
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
        name = options_pb2.AtLimit.Name(at_limit)
        raise _refused(
            option, f"{where}has at_limit {name}, which counts unfinished tasks: it needs max_running"
        )
    own = "" if limit.key == FAIRNESS_KEY else limit.key
    return RunLimitOption(
        limit.key,
        _key(own, request, f"{option}.key"),
        RunLimitRule(limit.max_running, limit.max_rate_per_s, limit.burst, LimitAction(at_limit)),
    )


def _lock(lock: options_pb2.Lock, request: Descriptor) -> LockOption:
    if not 1 <= len(lock.name) <= MAX_LOCK_NAME:
        raise _refused(
            "locks", f"has a name of {len(lock.name)} characters; it must be 1 to {MAX_LOCK_NAME} characters"
        )
    return LockOption(lock.name, _key(lock.key, request, "locks.key"), lock.shared)


def _requirements(policy: options_pb2.TaskPolicy) -> Requirements:
    needed = requirements(policy.requirements, "requirements")
    if len(policy.consumes) > MAX_REQUIREMENTS:
        raise _refused("consumes", f"has more than {MAX_REQUIREMENTS} entries")
    for resource, amount in policy.consumes.items():
        check_amount(resource, amount, "consumes")
        if not amount:
            raise _refused("consumes", f"has the amount 0 of {resource!r}: leave it out")
    return needed._replace(consumes=tuple(sorted(policy.consumes.items())))


def _cache_ttl(policy: options_pb2.TaskPolicy) -> float | None:
    if not policy.HasField("cache"):
        return None
    if not policy.cache.HasField("ttl"):
        raise _refused("cache", "has no ttl: say how long a result is reused")
    return checked_duration(policy.cache.ttl, "cache.ttl", least_s=LEAST_TTL_S)


def _fallback(policy: options_pb2.TaskPolicy, method: MethodDescriptor) -> str:
    name = policy.fallback
    if name and (len(name) > MAX_METHOD or not _METHOD.fullmatch(name)):
        raise _refused(
            "fallback", f"is {name[:MAX_METHOD]!r}; write a full name such as acme.v1.Greeter/Greet"
        )
    if name == method_name(method):
        raise _refused("fallback", "is the method itself")
    return name


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
