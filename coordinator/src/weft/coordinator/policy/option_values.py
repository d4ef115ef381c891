"""The options that calls and task policies share, checked, as the store's values."""

from __future__ import annotations

from weft.coordinator.store.rules import DEFAULT_RETRY, Requirements, TaskRetryPolicy
from weft.rpc.task_policy.option_checks import check_requirements, check_retry
from weft.rpc.times import seconds
from weft.v1 import options_pb2


def retry_policy(policy: options_pb2.RetryPolicy, option: str) -> TaskRetryPolicy:
    """A checked policy with its defaults filled in.

    Args:
        option: the path of the option, for refusals.

    Raises:
        InvalidArgument: a part is outside its range; `field` is its path.
    """
    check_retry(policy, option)
    default = DEFAULT_RETRY
    return TaskRetryPolicy(
        max_attempts=policy.max_attempts or default.max_attempts,
        initial_backoff_s=seconds(policy.initial_backoff)
        if policy.HasField("initial_backoff")
        else default.initial_backoff_s,
        max_backoff_s=seconds(policy.max_backoff)
        if policy.HasField("max_backoff")
        else default.max_backoff_s,
        backoff_multiplier=policy.backoff_multiplier or default.backoff_multiplier,
        retryable_codes=frozenset(policy.retryable_codes) or default.retryable_codes,
        max_crashes=policy.max_crashes if policy.HasField("max_crashes") else default.max_crashes,
    )


def requirements(message: options_pb2.Requirements, option: str) -> Requirements:
    """Checked requirements.

    Raises:
        InvalidArgument: too many, an empty key, or an amount that is no number of zero or more; `field` is the path.
    """
    check_requirements(message, option)
    return Requirements.of(message.labels, message.resources)
