"""Outcomes that this library makes, and the bounds of all outcomes. Pure."""

from __future__ import annotations

from weft.rpc import refusals
from weft.rpc.calls.answer_size import MAX_ANSWER_BYTES, fit
from weft.rpc.errors import (
    ResourceExhausted,
    WeftError,
)
from weft.v1 import session_pb2, task_pb2


def of_error(error: WeftError) -> task_pb2.Outcome:
    return task_pb2.Outcome(status=error.status())


def handler_failed(method: str) -> task_pb2.Outcome:
    """The outcome of a handler that raised. The status has nothing of the exception's text, which may hold secrets."""
    return of_error(refusals.handler_failed(method))


def not_run(method: str) -> task_pb2.Outcome:
    """The outcome of an attempt that could not be run, or whose outcome was lost, by a fault of weft."""
    return of_error(refusals.internal(f"the agent failed to run {method}; its log has the rest"))


def too_large(size_bytes: int, limit_bytes: int) -> task_pb2.Outcome:
    return of_error(
        refusals.result_too_large(
            f"the handler's response is {size_bytes} bytes; the limit is {limit_bytes}",
            size_bytes=size_bytes,
            limit_bytes=limit_bytes,
        )
    )


def cancelled(reason: str) -> task_pb2.Outcome:
    return of_error(refusals.cancelled(f"cancelled: {reason}" if reason else "cancelled", reason))


def time_limit() -> task_pb2.Outcome:
    return of_error(refusals.time_limit("the attempt's time limit passed", limit="start_to_close"))


def not_hosted(method: str) -> task_pb2.Outcome:
    return of_error(refusals.method_not_hosted(f"this agent does not host {method}"))


def not_durable(method: str) -> task_pb2.Outcome:
    return of_error(
        refusals.method_not_durable(f"{method} takes a stream of requests: it can be called directly only")
    )


def process_died() -> task_pb2.Outcome:
    return of_error(refusals.isolated_process_died())


def bounded(
    outcome: task_pb2.Outcome, limit_bytes: int, beside_bytes: int = MAX_ANSWER_BYTES
) -> task_pb2.Outcome:
    """The outcome with its metadata; or the failure that replaces it if it is larger than allowed.

    Args:
        limit_bytes: of the response.
        beside_bytes: of its initial metadata, and of its trailers with status and details.
    """
    response_bytes = len(outcome.response)
    if response_bytes > limit_bytes:
        return too_large(response_bytes, limit_bytes)
    try:
        fit(outcome, beside_bytes)
    except ResourceExhausted as error:
        return of_error(error)
    return outcome


def result(
    attempt_ref: tuple[str, int], outcome: task_pb2.Outcome, *, crashed: bool
) -> session_pb2.AttemptResult:
    task_id, number = attempt_ref
    return session_pb2.AttemptResult(task_id=task_id, attempt=number, outcome=outcome, crashed=crashed)
