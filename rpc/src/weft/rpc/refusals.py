"""The catalogue of weft's refusals: one function for each reason of `weft.v1.ErrorReason`, with the reason's name.

Every error of weft's own with a reason is made here, so that a reason always has the same class, code and metadata. The class
says what a caller can do about it, see `weft.rpc.errors`; weft's own clients repeat a call that ends with `RetryLater`. Errors
that no other process sees (an agent that cannot be loaded, a wrong event loop) are classes in their own modules, without a reason.

A message says what happened, to what, why, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

from google.rpc.error_details_pb2 import ErrorInfo

from weft.rpc.errors import (
    DOMAIN,
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    LimitReached,
    NotFound,
    Overloaded,
    TooLarge,
    Unavailable,
    Unimplemented,
    Unknown,
    reason_name,
)
from weft.v1 import errors_pb2 as pb

# After so long, a bound that is reached may have room again.
RETRY_AFTER_S = 5.0
# After so long, a coordinator that stops may have a successor.
STOPPING_RETRY_S = 1.0


# -- the request ------------------------------------------------------------------------------------------------------


def invalid_field(message: str, field: str) -> InvalidArgument:
    """A field, an argument or a metadata key has an invalid value."""
    return InvalidArgument(message, reason=pb.ERROR_REASON_INVALID_FIELD, field=field)


def payload_malformed(message: str, field: str | None = None) -> InvalidArgument:
    """A payload, or a whole request, does not parse as its message type."""
    return InvalidArgument(message, reason=pb.ERROR_REASON_PAYLOAD_MALFORMED, field=field)


def rules_violated(
    message: str, violations: Sequence[FieldViolation], metadata: dict[str, str]
) -> InvalidArgument:
    """A request breaks rules of its contract."""
    return InvalidArgument(
        message, reason=pb.ERROR_REASON_RULES_VIOLATED, metadata=metadata, violations=violations
    )


def payload_too_large(message: str, size_bytes: int, limit_bytes: int, field: str | None = None) -> TooLarge:
    """A request, or its metadata, is over the limit."""
    return TooLarge(
        message,
        reason=pb.ERROR_REASON_PAYLOAD_TOO_LARGE,
        metadata={"size_bytes": str(size_bytes), "limit_bytes": str(limit_bytes)},
        field=field,
    )


@overload
def method_unknown(message: str, method: str, *, called: Literal[True]) -> Unimplemented: ...
@overload
def method_unknown(message: str, method: str, *, called: Literal[False]) -> NotFound: ...
def method_unknown(message: str, method: str, *, called: bool) -> NotFound | Unimplemented:
    """No contract has the method. With `called`, the error is UNIMPLEMENTED, as gRPC's own is; otherwise it is NOT_FOUND."""
    kind = Unimplemented if called else NotFound
    return kind(message, reason=pb.ERROR_REASON_METHOD_UNKNOWN, metadata={"method": method})


def method_not_durable(message: str) -> Unimplemented:
    """A method of this shape cannot be a task."""
    return Unimplemented(message, reason=pb.ERROR_REASON_METHOD_NOT_DURABLE)


def method_not_hosted(message: str) -> Unimplemented:
    """An agent got a call of a method that it does not host."""
    return Unimplemented(message, reason=pb.ERROR_REASON_METHOD_NOT_HOSTED)


def not_implemented(message: str) -> Unimplemented:
    """A part of the contract is not built yet."""
    return Unimplemented(message, reason=pb.ERROR_REASON_NOT_IMPLEMENTED)


def request_id_reused(request_id: str, task_id: str) -> AlreadyExists:
    """A request id was used before, with another request."""
    return AlreadyExists(
        f"request_id {request_id!r} was used for task {task_id} with another method or payload",
        reason=pb.ERROR_REASON_REQUEST_ID_REUSED,
        metadata={"task_id": task_id},
    )


# -- tasks ------------------------------------------------------------------------------------------------------------


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


# -- handlers and agents ----------------------------------------------------------------------------------------------


def handler_failed(method: str) -> Unknown:
    """A handler raised an exception. Callers do not get its text."""
    return Unknown(
        f"the handler of {method} raised an exception; the agent's log has it",
        reason=pb.ERROR_REASON_HANDLER_FAILED,
    )


def isolated_process_died() -> Unavailable:
    """The process of an isolated handler ended before the handler."""
    return Unavailable(
        "the isolated process that ran the handler died", reason=pb.ERROR_REASON_ISOLATED_PROCESS_DIED
    )


def app_unavailable(service: str, agent_id: str) -> Unavailable:
    """The app behind a sidecar takes no calls."""
    return Unavailable(
        f"the app behind this agent does not serve {service} now",
        reason=pb.ERROR_REASON_APP_UNAVAILABLE,
        metadata={"service": service, "agent": agent_id},
    )


def no_agent(message: str, metadata: dict[str, str] | None = None) -> Unavailable:
    """No agent takes direct calls of a method now; or no agent could run a task, which went on at its fallback."""
    return Unavailable(message, reason=pb.ERROR_REASON_NO_AGENT, metadata=metadata)


def no_agent_matches(message: str, method: str, requirements: str, agents: int) -> FailedPrecondition:
    """No connected agent can run a task that is not to wait for one; `agents`: that host its method."""
    return FailedPrecondition(
        message,
        reason=pb.ERROR_REASON_NO_AGENT_MATCHES,
        metadata={"method": method, "requirements": requirements, "agents": str(agents)},
    )


def agent_not_found(agent_id: str) -> NotFound:
    """No agent has the id."""
    return NotFound(
        f"no agent has the id {agent_id!r}; `weft agents list` shows those that are known",
        reason=pb.ERROR_REASON_AGENT_NOT_FOUND,
        metadata={"agent_id": agent_id},
    )


def agent_id_in_use(agent_id: str) -> AlreadyExists:
    """Another live process is connected as this agent."""
    return AlreadyExists(
        f"another live process is connected as agent {agent_id!r}; give this one another id, or stop the other",
        reason=pb.ERROR_REASON_AGENT_ID_IN_USE,
        metadata={"agent_id": agent_id},
        retry_after_s=1.0,
    )


def contract_incompatible(message: str, method: str, field: str) -> FailedPrecondition:
    """An agent's contract is not compatible with the contract in force."""
    return FailedPrecondition(
        message,
        reason=pb.ERROR_REASON_CONTRACT_INCOMPATIBLE,
        metadata={"method": method, "field": field},
    )


def options_conflict(message: str, method: str, option: str, agent_id: str) -> Unavailable:
    """An agent's contract has other task policies than that of another connected agent. The agent dials again."""
    return Unavailable(
        message,
        reason=pb.ERROR_REASON_OPTIONS_CONFLICT,
        metadata={"method": method, "option": option, "agent": agent_id},
    )


def contract_invalid(message: str, field: str | None = None) -> InvalidArgument:
    """Descriptors are not a valid contract."""
    return InvalidArgument(message, reason=pb.ERROR_REASON_CONTRACT_INVALID, field=field)


# -- schedules --------------------------------------------------------------------------------------------------------


def schedule_not_found(name: str) -> NotFound:
    """No schedule has the name."""
    return NotFound(
        f"no schedule has the name {name!r}; `weft schedules list` shows those that there are",
        reason=pb.ERROR_REASON_SCHEDULE_NOT_FOUND,
        metadata={"name": name},
    )


def schedule_exists(name: str) -> AlreadyExists:
    """A schedule of this name has another spec."""
    return AlreadyExists(
        f"a schedule {name!r} is there already, with another spec: update it, delete it, or choose another name",
        reason=pb.ERROR_REASON_SCHEDULE_EXISTS,
        metadata={"name": name},
    )


# -- sessions ---------------------------------------------------------------------------------------------------------


def session_protocol(message: str) -> FailedPrecondition:
    """A message on a session breaks the protocol."""
    return FailedPrecondition(message, reason=pb.ERROR_REASON_SESSION_PROTOCOL)


def session_lost(message: str) -> Unavailable:
    """A session is over because its agent was silent, or its lease has passed. The agent dials again."""
    return Unavailable(message, reason=pb.ERROR_REASON_SESSION_LOST)


def session_superseded() -> Aborted:
    """A session is over because the same agent has opened another."""
    return Aborted("a newer session of this agent took over", reason=pb.ERROR_REASON_SESSION_SUPERSEDED)


# -- servers and connections ------------------------------------------------------------------------------------------


def group_not_found(name: str) -> NotFound:
    """No group has the name."""
    return NotFound(
        f"no group has the name {name!r} (any more); `weft groups list` shows those that there are",
        reason=pb.ERROR_REASON_GROUP_NOT_FOUND,
        metadata={"group": name},
    )


def group_closed(name: str) -> FailedPrecondition:
    """A task's group takes no more tasks."""
    return FailedPrecondition(
        f"group {name!r} is closed and takes no more tasks: submit the task to another group, or to none",
        reason=pb.ERROR_REASON_GROUP_CLOSED,
        metadata={"group": name},
    )


def group_exists(name: str, what: str) -> AlreadyExists:
    """A group of this name cannot get this callback."""
    return AlreadyExists(
        f"group {name!r} {what}: choose another name, or delete it first",
        reason=pb.ERROR_REASON_GROUP_EXISTS,
        metadata={"group": name},
    )


def group_unfinished(name: str) -> FailedPrecondition:
    """A group cannot be deleted yet."""
    return FailedPrecondition(
        f"group {name!r} has unfinished tasks, or its callback is being submitted: wait for its end, or cancel it first",
        reason=pb.ERROR_REASON_GROUP_UNFINISHED,
        metadata={"group": name},
    )


def overloaded(
    message: str, retry_after_s: float = RETRY_AFTER_S, metadata: dict[str, str] | None = None
) -> Overloaded:
    """A bound is reached: of calls, streams, tasks, sessions or slots."""
    return Overloaded(
        message, reason=pb.ERROR_REASON_OVERLOADED, metadata=metadata, retry_after_s=retry_after_s
    )


def limit_reached(message: str, metadata: dict[str, str]) -> LimitReached:
    """A run limit refuses a task."""
    return LimitReached(message, reason=pb.ERROR_REASON_LIMIT_REACHED, metadata=metadata)


def stopping(message: str, retry_after_s: float | None = STOPPING_RETRY_S) -> Unavailable:
    """A coordinator or an agent takes no new work, because it stops."""
    return Unavailable(message, reason=pb.ERROR_REASON_STOPPING, retry_after_s=retry_after_s)


def store_unavailable(message: str, retry_after_s: float) -> Unavailable:
    """The store cannot be reached or written."""
    return Unavailable(message, reason=pb.ERROR_REASON_STORE_UNAVAILABLE, retry_after_s=retry_after_s)


def unreachable(message: str) -> Unavailable:
    """A coordinator does not answer, or ended a stream before its end."""
    return Unavailable(message, reason=pb.ERROR_REASON_UNREACHABLE)


def call_deadline(message: str) -> DeadlineExceeded:
    """The caller's deadline passed before the answer. The work may be done, or may go on."""
    return DeadlineExceeded(message, reason=pb.ERROR_REASON_CALL_DEADLINE)


def internal(message: str) -> Internal:
    """A fault of weft. The message says which log has the rest."""
    return Internal(message, reason=pb.ERROR_REASON_INTERNAL)


# -- details of a handler's own error ----------------------------------------------------------------------------------


def metadata_left_out(left_out: str, limit_bytes: int) -> ErrorInfo:
    """The status detail of a handler's error whose metadata was cut, because it was over the limit."""
    return ErrorInfo(
        reason=reason_name(pb.ERROR_REASON_METADATA_LEFT_OUT),
        domain=DOMAIN,
        metadata={"left_out": left_out, "limit_bytes": str(limit_bytes)},
    )
