"""The run limits that operators set (UpdateQueue): policies with run limits and nothing else, one a method (`PolicyRows`).

The policy table merges them with the method's other options. Pure.
"""

from __future__ import annotations

from collections.abc import Callable

from weft.coordinator.policy.policy_table import PolicyTable
from weft.coordinator.store.run_limits import FAIRNESS_KEY
from weft.rpc import refusals
from weft.rpc.errors import InvalidArgument
from weft.v1 import coordinator_pb2, options_pb2


def limit_edit(
    policies: PolicyTable, method: str, asked: coordinator_pb2.QueueLimits | None, *, clear: bool
) -> Callable[[options_pb2.TaskPolicy], None]:
    """An edit of a method's row: it sets the run limit of one key, or removes it if it limits nothing; `clear`: it removes all
    others. The edit raises `InvalidArgument` if the limit means nothing for the method.

    Raises:
        InvalidArgument: the limit has two keys.
    """
    limit = None if asked is None else _run_limit(asked)

    def edit(policy: options_pb2.TaskPolicy) -> None:
        by_key = {} if clear else {each.key: each for each in policy.run_limits}
        if limit is not None:
            by_key[limit.key] = limit
        edited = options_pb2.TaskPolicy(
            run_limits=[each for _, each in sorted(by_key.items()) if not _is_none(each)]
        )
        try:
            policies.check_override(method, edited)
        except InvalidArgument as error:
            raise refusals.invalid_field(f"the limits of {method}: {error.message}", field="limits") from None
        policy.CopyFrom(edited)

    return edit


def _run_limit(asked: coordinator_pb2.QueueLimits) -> options_pb2.RunLimit:
    if asked.per_fairness_key and asked.key not in {"", FAIRNESS_KEY}:
        raise refusals.invalid_field(
            f"limits has per_fairness_key and the key {asked.key[:128]!r}: a limit has one key",
            field="limits.key",
        )
    return options_pb2.RunLimit(
        key=FAIRNESS_KEY if asked.per_fairness_key else asked.key,
        max_running=asked.max_running,
        max_rate_per_s=asked.max_rate_per_s,
        burst=asked.burst,
        at_limit=asked.at_limit,
    )


def _is_none(limit: options_pb2.RunLimit) -> bool:
    """Whether it limits nothing, and says nothing else."""
    return not (limit.max_running or limit.max_rate_per_s or limit.burst or limit.at_limit)
