"""Refusals of steps."""

from __future__ import annotations

from weft.rpc.errors import FailedPrecondition, TooLarge
from weft.v1 import errors_pb2 as pb


def step_changed(name: str, what: str) -> FailedPrecondition:
    """A handler that runs again does something else than before."""
    return FailedPrecondition(
        f"step {name} {what}: a handler that runs again must take the same steps under the same names. Give new steps other names, or"
        " submit the task anew",
        reason=pb.ERROR_REASON_STEP_CHANGED,
        metadata={"step": name},
    )


def attempt_over(task_id: str, attempt: int) -> FailedPrecondition:
    """An attempt is not the current one of its task."""
    return FailedPrecondition(
        f"attempt {attempt} at task {task_id} is not running (any more), and records nothing: let its handler end",
        reason=pb.ERROR_REASON_ATTEMPT_OVER,
        metadata={"task_id": task_id, "attempt": str(attempt)},
    )


def step_limit(task_id: str) -> TooLarge:
    """A task has as many steps as it may have."""
    return TooLarge(
        f"task {task_id} has as many steps and signals as it may have, 10,000 of them with 16 MiB of values: let steps do more, keep large"
        " values elsewhere, or divide the work among child tasks",
        reason=pb.ERROR_REASON_STEP_LIMIT,
        metadata={"task_id": task_id},
    )


def step_not_durable(method: str) -> FailedPrecondition:
    """A direct call has no steps."""
    return FailedPrecondition(
        f"{method} was called directly, and nothing of such a call is stored: call it durably, or give it the option mode: CALL_MODE_DURABLE",
        reason=pb.ERROR_REASON_STEP_NOT_DURABLE,
        metadata={"method": method},
    )
