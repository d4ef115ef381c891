"""Refusals of tasks: what is not stored any more, what their state forbids, and how they end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

from weft.rpc.errors import (
    Aborted,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    NotFound,
    TooLarge,
    Unavailable,
)
from weft.v1 import errors_pb2 as pb


@overload
def task_not_found(task_id: str, *, was_stored: Literal[False] = False) -> NotFound: ...
@overload
def task_not_found(task_id: str, *, was_stored: Literal[True]) -> DataLoss: ...
def task_not_found(task_id: str, *, was_stored: bool = False) -> NotFound | DataLoss:
    """No task has the id. With `was_stored`, the store had acknowledged the task and has lost it."""
    metadata = {"task_id": task_id}
    if was_stored:
        return DataLoss(
            "the store does not know this task any more",
            reason=pb.ERROR_REASON_TASK_NOT_FOUND,
            metadata=metadata,
        )
    return NotFound(
        f"no task has the id {task_id!r}, or it was forgotten after its time",
        reason=pb.ERROR_REASON_TASK_NOT_FOUND,
        metadata=metadata,
    )


def task_state(message: str, state: str) -> FailedPrecondition:
    """The task's state does not allow the operation."""
    return FailedPrecondition(message, reason=pb.ERROR_REASON_TASK_STATE, metadata={"state": state})


def result_expired(message: str, metadata: dict[str, str] | None = None) -> NotFound:
    """The task's payload or result was dropped after its TTL."""
    return NotFound(message, reason=pb.ERROR_REASON_RESULT_EXPIRED, metadata=metadata)


def result_too_large(message: str, size_bytes: int, limit_bytes: int) -> TooLarge:
    """The handler's response or metadata is over the limit."""
    return TooLarge(
        message,
        reason=pb.ERROR_REASON_RESULT_TOO_LARGE,
        metadata={"size_bytes": str(size_bytes), "limit_bytes": str(limit_bytes)},
    )


def result_rules_violated(
    message: str, violations: Sequence[FieldViolation], metadata: dict[str, str]
) -> Internal:
    """A handler's response breaks rules of its contract. Never retried."""
    return Internal(
        message, reason=pb.ERROR_REASON_RESULT_RULES_VIOLATED, metadata=metadata, violations=violations
    )


def progress_limit(message: str) -> TooLarge:
    """A task of a streaming method sent more responses than a task may store."""
    return TooLarge(message, reason=pb.ERROR_REASON_PROGRESS_LIMIT)


def crash_loop(crashes: int) -> Aborted:
    """The task's attempts were lost with their agents too often."""
    return Aborted(
        f"given up: {crashes} attempts were lost with their agents",
        reason=pb.ERROR_REASON_CRASH_LOOP,
        metadata={"crashes": str(crashes)},
    )


def time_limit(message: str, limit: str) -> DeadlineExceeded:
    """A time limit of a task or an attempt passed; `limit` is its name in `weft.v1.TimeLimits`."""
    return DeadlineExceeded(message, reason=pb.ERROR_REASON_TIME_LIMIT, metadata={"limit": limit})


def cancelled(message: str, why: str = "") -> Cancelled:
    """A task or an attempt was cancelled by a request; `why` is the request's reason."""
    return Cancelled(message, reason=pb.ERROR_REASON_CANCELLED, metadata={"reason": why} if why else None)


def stream_restarted(message: str, task_id: str) -> Unavailable:
    """A stream's attempt ended, and another attempt began."""
    return Unavailable(message, reason=pb.ERROR_REASON_STREAM_RESTARTED, metadata={"task_id": task_id})
