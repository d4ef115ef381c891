"""The options of a stored task, as the task API tells them: all that are in force, wherever they come from. Pure."""

from __future__ import annotations

from weft.coordinator.sticky import sticky_codec
from weft.coordinator.store.records import Submission
from weft.coordinator.store.rules import ANY_AGENT
from weft.coordinator.store.sticky_agent import unbound
from weft.coordinator.usage import task_budgets
from weft.rpc.times import duration
from weft.v1 import options_pb2, task_pb2


def told_options(given: Submission, *, full: bool) -> task_pb2.TaskOptions:
    """The options. `full`: with the call's context, if the task was read with it."""
    policy = given.retry
    options = task_pb2.TaskOptions(
        priority=given.priority,
        retry=options_pb2.RetryPolicy(
            max_attempts=policy.max_attempts,
            initial_backoff=duration(policy.initial_backoff_s),
            max_backoff=duration(policy.max_backoff_s),
            backoff_multiplier=policy.backoff_multiplier,
            retryable_codes=sorted(policy.retryable_codes),
            max_crashes=policy.max_crashes,
        ),
        result_ttl=duration(given.result_ttl_s),
        failure_ttl=duration(given.failure_ttl_s),
    )
    if given.delay_s:
        options.delay.CopyFrom(duration(given.delay_s))
    for name in ("schedule_to_start", "start_to_close", "schedule_to_close"):
        limit_s: float | None = getattr(given, f"{name}_s")
        if limit_s is not None:
            getattr(options.limits, name).CopyFrom(duration(limit_s))
    if given.requirements != ANY_AGENT:
        options.requirements.labels.update(dict(unbound(given.requirements).labels))
        options.requirements.resources.update(dict(given.requirements.resources))
        options.consumes.update(dict(given.requirements.consumes))
    if given.fairness_key or given.fairness_weight != 1.0:
        options.fairness_key, options.fairness_weight = given.fairness_key, given.fairness_weight
    for name, shared, state in given.locks:
        options.locks.add(name=name, shared=shared, state=state)
    if full and given.context:
        options.context.MergeFromString(given.context)
        task_budgets.tell(given, options)
    if given.context or given.requirements.session:
        sticky_codec.tell(given, options)
    return options
