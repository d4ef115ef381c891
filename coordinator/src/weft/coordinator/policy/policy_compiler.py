"""Compiles the checked options of one method to a `MethodPolicy`. Pure."""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, MethodDescriptor

from weft.coordinator.policy.method_policy import LockOption, MethodPolicy, RunLimitOption
from weft.coordinator.policy.option_values import requirements, retry_policy
from weft.coordinator.store.rules import ANY_AGENT
from weft.coordinator.store.run_limits import LimitAction, RunLimitRule
from weft.rpc.contracts.descriptors import method_name
from weft.rpc.task_policy.key_paths import Key, compile_key
from weft.rpc.task_policy.option_checks import time_limit
from weft.rpc.task_policy.policy_checks import BY_FAIRNESS_KEY, check
from weft.rpc.times import seconds
from weft.v1 import options_pb2


def compiled(policy: options_pb2.TaskPolicy, method: MethodDescriptor) -> MethodPolicy:
    """The options as calls use them.

    Raises:
        InvalidArgument: an option has a value that means nothing; `field` is the option.
    """
    check(policy, method)
    request = method.input_type
    needed = requirements(policy.requirements, "requirements")._replace(
        consumes=tuple(sorted(policy.consumes.items()))
    )
    return MethodPolicy(
        method=method_name(method),
        options=policy,
        retry=retry_policy(policy.retry, "retry") if policy.HasField("retry") else None,
        schedule_to_start_s=time_limit(policy.limits, "schedule_to_start", "limits"),
        start_to_close_s=time_limit(policy.limits, "start_to_close", "limits"),
        schedule_to_close_s=time_limit(policy.limits, "schedule_to_close", "limits"),
        priority=policy.priority if policy.HasField("priority") else None,
        slot_cost=policy.slot_cost,
        result_ttl_s=seconds(policy.result_ttl) if policy.HasField("result_ttl") else None,
        failure_ttl_s=seconds(policy.failure_ttl) if policy.HasField("failure_ttl") else None,
        # The one object for none: calls look for that.
        requirements=ANY_AGENT if needed == ANY_AGENT else needed,
        direct=policy.mode == options_pb2.CALL_MODE_DIRECT,
        idempotency_key=_key(policy.idempotency_key, request, "idempotency_key"),
        fairness_key=_key(policy.fairness_key, request, "fairness_key"),
        run_limits=tuple(_run_limit(limit, request) for limit in policy.run_limits),
        locks=tuple(
            LockOption(lock.name, _key(lock.key, request, "locks.key"), lock.shared, lock.state)
            for lock in policy.locks
        ),
        cache_ttl_s=seconds(policy.cache.ttl),
        fallback=policy.fallback,
        no_wait=policy.no_wait if policy.HasField("no_wait") else None,
        check_rules=policy.check_rules if policy.HasField("check_rules") else True,
        on_event=policy.on_event.filter if policy.HasField("on_event") else None,
        durable_children=policy.durable_children,
        budget=tuple(sorted(policy.budget.items())),
    )


def _key(expression: str, request: Descriptor, option: str) -> Key | None:
    return compile_key(expression, request, option) if expression else None


def _run_limit(limit: options_pb2.RunLimit, request: Descriptor) -> RunLimitOption:
    own = "" if limit.key == BY_FAIRNESS_KEY else limit.key
    action = LimitAction(limit.at_limit or options_pb2.AT_LIMIT_QUEUE)
    return RunLimitOption(
        limit.key,
        _key(own, request, "run_limits.key"),
        RunLimitRule(limit.max_running, limit.max_rate_per_s, limit.burst, action),
    )
