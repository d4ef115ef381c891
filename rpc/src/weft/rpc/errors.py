"""The tree of weft's errors, and its mapping to and from `google.rpc.Status`.

Errors are sorted by what a caller can do about them, then by their gRPC code:

    WeftError
    ├── RetryLater                 the same call may succeed later; `retry_after_s` says when, if it is known
    │   ├── Unavailable            a server, its store, or an agent is away
    │   └── Overloaded             a bound is reached; also a ResourceExhausted
    ├── FixRequest                 the same call would be refused again: change the call, or the state that it relies on
    │   ├── InvalidArgument        a value is wrong; `field` says which
    │   ├── NotFound
    │   ├── AlreadyExists
    │   ├── FailedPrecondition
    │   ├── Unauthenticated        the caller shows no token, or one that is not valid
    │   ├── PermissionDenied       the caller's token does not allow the call
    │   ├── Unimplemented
    │   └── TooLarge               a request or a response is over a limit; also a ResourceExhausted
    ├── DeadlineExceeded           time is up, of the call or of the task (`reason`); also Python's TimeoutError
    ├── Failed                     the call was tried and failed: the caller decides about a new call
    │   ├── Unknown                a handler raised an exception
    │   ├── Aborted
    │   ├── Cancelled
    │   ├── DataLoss               a task that was stored is gone
    │   └── Internal               a fault of weft
    └── ResourceExhausted          a handler's own error, without a time for a retry

The functions of `weft.rpc.refusals` make weft's own errors. These carry an `ErrorInfo` with domain "weft" and a reason of
`weft.v1.ErrorReason`. A handler's own error has the class of its code. This module does no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from weft.rpc.enum_names import enum_name
from weft.rpc.raised import summary
from weft.v1 import errors_pb2, task_pb2

DOMAIN = "weft"
STATUS_DETAILS_KEY = "grpc-status-details-bin"
# Messages quote bad input, and errors travel in headers, of which stock gRPC takes 8 KiB. With longer ones a client would see
# another error.
MAX_MESSAGE_BYTES = 1024
MAX_METADATA_BYTES = 256

Detail = TypeVar("Detail", bound=Message)

_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def status_code(number: int) -> grpc.StatusCode:
    """The `grpc.StatusCode` of a `google.rpc.Code` number; UNKNOWN for a number that gRPC does not have."""
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)


def reason_name(reason: int) -> str:
    """The name that goes into `ErrorInfo.reason`: `ErrorReason` without its prefix."""
    return enum_name(errors_pb2.ErrorReason, reason, "ERROR_REASON_")


class FieldViolation(NamedTuple):
    """One wrong field of a request or response."""

    # Its path, such as "items[2].name" or 'prices["EUR"]'; empty: the message as a whole.
    field: str
    # What is wrong, for people.
    description: str
    # What is wrong, for programs: the id of the broken rule, such as "string.min_len". Empty: there is none.
    reason: str = ""


class WeftError(Exception):
    """An error with a gRPC code, a reason and a message for people.

    Args:
        message: what is wrong and what to do, in plain words.
        reason: a number of `weft.v1.ErrorReason`. UNSPECIFIED: weft has no reason for this error.
        metadata: facts for programs (`ErrorInfo.metadata`).
        field: path of the offending request field; adds `BadRequest` details.
        violations: all wrong fields, if there may be several; adds `BadRequest` details.
        retry_after_s: adds `RetryInfo` with this delay, in seconds.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: int = errors_pb2.ERROR_REASON_UNSPECIFIED,
        metadata: Mapping[str, str] | None = None,
        field: str | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.field = field
        self._violations = tuple(violations)
        self.retry_after_s = retry_after_s
        # The status that this error was made from, if it came from another process.
        self.received: status_pb2.Status | None = None
        # The handler's exception, if this is a task's error and its agent reported one; see `tell_raised`.
        self.raised: task_pb2.HandlerError | None = None

    @property
    def violations(self) -> tuple[FieldViolation, ...]:
        """The wrong fields, each with what is wrong: of this error's `BadRequest` details. Empty: there are none."""
        if self.received is not None:
            bad = _detail(self.received, error_details_pb2.BadRequest)
            found = () if bad is None else bad.field_violations
            return tuple(FieldViolation(each.field, each.description, each.reason) for each in found)
        if self._violations or self.field is None:
            return self._violations
        return (FieldViolation(self.field, _cut(self.message, MAX_MESSAGE_BYTES)),)

    def tell_raised(self, raised: task_pb2.HandlerError) -> None:
        """Keep the handler's exception: as `raised`, and as a note below this error's own text."""
        self.raised = raised
        self.add_note(f"the handler raised {summary(raised)}")

    @property
    def reason_name(self) -> str:
        return reason_name(self.reason)

    def status(self) -> status_pb2.Status:
        """This error as a `google.rpc.Status` with details. A received error returns the status that was received."""
        if self.received is not None:
            return self.received
        message = _cut(self.message, MAX_MESSAGE_BYTES)
        details: list[Message] = []
        if self.reason != errors_pb2.ERROR_REASON_UNSPECIFIED:
            metadata = {key: _cut(value, MAX_METADATA_BYTES) for key, value in self.metadata.items()}
            details.append(
                error_details_pb2.ErrorInfo(reason=self.reason_name, domain=DOMAIN, metadata=metadata)
            )
        if violations := self.violations:
            made = [error_details_pb2.BadRequest.FieldViolation(**each._asdict()) for each in violations]
            details.append(error_details_pb2.BadRequest(field_violations=made))
        if self.retry_after_s is not None:
            info = error_details_pb2.RetryInfo()
            info.retry_delay.FromMicroseconds(round(self.retry_after_s * 1e6))
            details.append(info)
        return make_status(self.code, message, details)


class RetryLater(WeftError):
    """Nothing is wrong with the call. The same call may succeed later, and weft's own clients repeat it."""

    code = grpc.StatusCode.UNAVAILABLE


class FixRequest(WeftError):
    """The same call would be refused again. Change the call, or the state that it relies on."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class Failed(WeftError):
    """The call was tried and failed. The caller decides whether to call again."""


class Unavailable(RetryLater):
    code = grpc.StatusCode.UNAVAILABLE


class ResourceExhausted(WeftError):
    """A bound is reached. Weft's own errors are of a subclass of this."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Overloaded(ResourceExhausted, RetryLater):
    """A bound is reached. There may be room again after `retry_after_s`."""


class TooLarge(ResourceExhausted, FixRequest):
    """A request, a response or a stream is over its limit."""


class LimitReached(ResourceExhausted, Failed):
    """A run limit refuses a task, or a budget is spent. There is room when another task has ended, or when the budget begins anew; weft's own
    clients do not repeat the call."""


class InvalidArgument(FixRequest):
    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(FixRequest):
    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(FixRequest):
    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(FixRequest):
    code = grpc.StatusCode.FAILED_PRECONDITION


class Unauthenticated(FixRequest):
    """The server does not know who calls. Show a valid token."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(FixRequest):
    """The server knows who calls, and this caller may not. Use another token, or get one that goes further."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unimplemented(FixRequest):
    code = grpc.StatusCode.UNIMPLEMENTED


class DeadlineExceeded(WeftError, TimeoutError):
    """Time is up. The reason says which: CALL_DEADLINE, the caller's (the task may go on), or TIME_LIMIT, the task's own."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Aborted(Failed):
    code = grpc.StatusCode.ABORTED


class Cancelled(Failed):
    code = grpc.StatusCode.CANCELLED


class DataLoss(Failed):
    code = grpc.StatusCode.DATA_LOSS


class Unknown(Failed):
    code = grpc.StatusCode.UNKNOWN


class Internal(Failed):
    code = grpc.StatusCode.INTERNAL


# Bounds whose end is no matter of a moment.
_LIMITS = frozenset(
    {
        errors_pb2.ERROR_REASON_LIMIT_REACHED,
        errors_pb2.ERROR_REASON_BUDGET_SPENT,
        errors_pb2.ERROR_REASON_TOO_MANY_STICKY_SESSIONS,
    }
)
_CLASSES: dict[grpc.StatusCode, type[WeftError]] = {
    cls.code: cls
    for cls in (
        Unavailable,
        ResourceExhausted,
        InvalidArgument,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        Unauthenticated,
        PermissionDenied,
        Unimplemented,
        DeadlineExceeded,
        Aborted,
        Cancelled,
        DataLoss,
        Unknown,
        Internal,
    )
}
_TOO_LARGE = frozenset(
    {
        errors_pb2.ERROR_REASON_PAYLOAD_TOO_LARGE,
        errors_pb2.ERROR_REASON_RESULT_TOO_LARGE,
        errors_pb2.ERROR_REASON_STATE_TOO_LARGE,
        errors_pb2.ERROR_REASON_STEP_LIMIT,
        errors_pb2.ERROR_REASON_PROGRESS_LIMIT,
    }
)


def _cut(text: str, most_bytes: int) -> str:
    raw = text.encode()
    return text if len(raw) <= most_bytes else raw[:most_bytes].decode(errors="ignore") + "..."


def make_status(
    code: grpc.StatusCode, message: str, details: list[Message] | None = None
) -> status_pb2.Status:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details or []:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def unpacked(packed: any_pb2.Any, kind: type[Detail]) -> Detail | None:
    """A status detail as a message. None: it has another type, or its bytes do not parse as the type that it names.

    Use this alone to read details: handlers, apps and other processes write them, and nobody has checked them.
    """
    message = kind()
    try:
        return message if packed.Unpack(message) else None
    except DecodeError:
        return None


def error_info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo | None:
    """The status' `ErrorInfo`, weft's or another domain's. None: it has none that can be read."""
    return _detail(status, error_details_pb2.ErrorInfo)


def retry_after_s(status: status_pb2.Status) -> float | None:
    """The delay of the status' `RetryInfo`, in seconds. None: it has none that can be read."""
    info = _detail(status, error_details_pb2.RetryInfo)
    return None if info is None else info.retry_delay.ToMicroseconds() / 1e6


def _detail(status: status_pb2.Status, kind: type[Detail]) -> Detail | None:
    found = (unpacked(packed, kind) for packed in status.details)
    return next((each for each in found if each is not None), None)


def from_status(status: status_pb2.Status) -> WeftError:
    """The error of a status: its class by the code, its reason and metadata by the ErrorInfo.

    The reason is UNSPECIFIED if the ErrorInfo is not weft's: a handler's NOT_FOUND is not TASK_NOT_FOUND.
    """
    info = error_info(status)
    reason: int = errors_pb2.ERROR_REASON_UNSPECIFIED
    if info is not None and info.domain == DOMAIN:
        key = f"ERROR_REASON_{info.reason}"
        reason = errors_pb2.ErrorReason.Value(key) if key in errors_pb2.ErrorReason.keys() else reason
    delay_s = retry_after_s(status)
    error = _class_of(status_code(status.code), reason, delay_s)(
        status.message,
        reason=reason,
        metadata=dict(info.metadata) if info is not None else None,
        retry_after_s=delay_s,
    )
    error.received = status
    return error


def _class_of(code: grpc.StatusCode, reason: int, delay_s: float | None) -> type[WeftError]:
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        if reason in _TOO_LARGE:
            return TooLarge
        if reason in _LIMITS:
            return LimitReached
        # As gRPC's conventions say: only with a RetryInfo the same call may succeed later.
        return ResourceExhausted if delay_s is None else Overloaded
    return _CLASSES.get(code, Unknown)


def status_of_call(call: grpc.RpcError) -> status_pb2.Status:
    """The `google.rpc.Status` of a failed call, sync or aio: from its trailers, or made from its code and details.

    Raises nothing: status details that are unreadable, or have another code than the call, are left out.
    """
    # grpc's types give RpcError no methods, though each error that grpc raises has them.
    failed: Any = call
    code: grpc.StatusCode | None = failed.code()
    number: int = code.value[0] if code is not None else code_pb2.UNKNOWN
    for key, value in failed.trailing_metadata() or ():
        if key == STATUS_DETAILS_KEY:
            try:
                rich = status_pb2.Status.FromString(value)
            except DecodeError:
                break
            if rich.code == number:
                return rich
            break
    return status_pb2.Status(code=number, message=failed.details() or "")


def from_call(call: grpc.RpcError) -> WeftError:
    """The `WeftError` of a failed call, sync or aio."""
    return from_status(status_of_call(call))
