"""The end of an attempt whose handler only waits."""

from __future__ import annotations

from google.rpc import code_pb2, status_pb2

from weft.v1 import task_pb2


class Suspended(BaseException):
    """The handler only waits: it ends here, and runs again when it can go on. Handlers let it pass, as they do `CancelledError`.

    No `Exception`: `except Exception` must not take it for a failure.
    """


def is_suspended(error: BaseException) -> bool:
    """Whether an exception ends a handler because it only waits; several tasks of one handler may end together."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_suspended(each) for each in error.exceptions)
    return isinstance(error, Suspended)


def outcome_of(suspension: task_pb2.Suspension, waits_for: str) -> task_pb2.Outcome:
    """The outcome of such an attempt.

    Args:
        waits_for: in words, for people.
    """
    # Not OK: nothing may take it for an answer.
    status = status_pb2.Status(code=code_pb2.ABORTED, message=waits_for)
    return task_pb2.Outcome(status=status, suspension=suspension)
