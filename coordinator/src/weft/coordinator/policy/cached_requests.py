"""Cached requests: equal requests of a method share one task, and then its result, for as long as the policy says. Pure.

The request id of such a task is made from method and request alone: what callers say in metadata is no part of it.
"""

from __future__ import annotations

from weft.coordinator.store.records import Submission
from weft.rpc.task_policy.option_checks import CACHE_ID
from weft.v1 import task_pb2


def may_share(submission: Submission, options: task_pb2.TaskOptions | None) -> bool:
    """Whether a call without a request id of its own may have another one's result.

    A call that says where, when or in which group it runs means a run of its own.
    """
    if submission.group or submission.session is not None:
        return False
    return options is None or not (
        options.no_cache
        or options.agent_id
        or options.budget
        or submission.delay_s
        or options.requirements.ListFields()
    )


def share(submission: Submission, digest: bytes, ttl_s: float) -> None:
    """Let a submission share the task and the result of equal requests.

    Args:
        digest: of method and request (`task_ids.request_digest`).
    """
    submission.request_id = f"{CACHE_ID}{digest.hex()}"
    submission.request_digest = digest
    submission.cache_ttl_s = ttl_s
    # The result is kept as long as it may be used, and the request id no longer than that.
    submission.result_ttl_s = max(submission.result_ttl_s, ttl_s)
    submission.request_id_ttl_s = min(submission.request_id_ttl_s, ttl_s)
