"""Remembered child calls: a call with a step's name is the same task for every attempt of its parent. Pure.

The request id is made of the parent's id and the name. So the store finds the task again, as it does for a repeated request; and it keeps
the task as long as the parent is unfinished.
"""

from __future__ import annotations

import re

from weft.coordinator.store.records import Submission
from weft.coordinator.store.remembered import request_id_of
from weft.coordinator.store.step_store import LONGEST_WAIT_S
from weft.rpc import refusals
from weft.v1 import task_pb2

MAX_NAME_CHARS = 200
_NAME = re.compile(rf"[\x21-\x7e]{{1,{MAX_NAME_CHARS}}}")


def check_step_name(name: str, field: str) -> str:
    """Refuse a name that no step can have; returns it.

    Raises:
        InvalidArgument
    """
    if not _NAME.fullmatch(name):
        raise refusals.invalid_field(
            f"{field} must be 1 to {MAX_NAME_CHARS} printable ASCII characters without spaces; this one has {len(name)} characters",
            field=field,
        )
    return name


def remember(submission: Submission, context: task_pb2.CallContext, *, generated_id: bool) -> bool:
    """Give a call with a step's name the request id of that step: an earlier task under the name answers. With `step_anew`, only one that
    has not failed. Any other call stays as it is.

    Args:
        generated_id: weft's library made the request id that the submission has, for its repeats.

    Returns:
        Whether it has that request id still.

    Raises:
        InvalidArgument: the call has no parent, or a request id of its own.
    """
    if not context.step:
        return generated_id
    check_step_name(context.step, "options.context.step")
    if not context.parent_id:
        raise refusals.invalid_field(
            "a call with weft-step needs weft-parent-id, the id of the task whose step it is: weft's library and sidecar add it to the"
            " calls of a handler",
            field="options.context.parent_id",
        )
    if submission.request_id and not generated_id:
        raise refusals.invalid_field(
            "a call has both weft-step and weft-request-id: leave out one, since a step's request id is made of its parent and name",
            field="request_id",
        )
    submission.request_id = request_id_of(context.parent_id, context.step)
    if context.step_anew:
        # As a cached request: a task that failed gives the request id away.
        submission.cache_ttl_s = LONGEST_WAIT_S
    return False
