"""Refusals of requests: what is in them, the method that they name, and their size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, overload

from weft.rpc.errors import (
    AlreadyExists,
    FieldViolation,
    InvalidArgument,
    NotFound,
    TooLarge,
    Unimplemented,
)
from weft.v1 import errors_pb2 as pb


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
