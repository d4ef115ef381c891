"""What can go wrong with repositories: a code, a reason of the contract, and a sentence that helps."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from weft.rpc.errors import make_status
from weft.rpc.visible import one_line
from weft.services.repositories.v1 import repositories_pb2 as pb

DOMAIN = "weft.services.repositories"
# As much as fits into the headers of a response, beside the rest.
_MOST_CHARS = 700
_PREFIX = "ERROR_REASON_"
Code = grpc.StatusCode

# The code of each reason: one for each.
_CODES: Mapping[str, grpc.StatusCode] = {
    **dict.fromkeys(("NAME_REFUSED", "PATH_REFUSED"), Code.INVALID_ARGUMENT),
    **dict.fromkeys(
        (
            "WORKSPACE_NOT_FOUND",
            "REPOSITORY_NOT_FOUND",
            "BRANCH_NOT_FOUND",
            "REVISION_NOT_FOUND",
            "FILE_NOT_FOUND",
            "PULL_REQUEST_NOT_FOUND",
        ),
        Code.NOT_FOUND,
    ),
    "WORKSPACE_EXISTS": Code.ALREADY_EXISTS,
    **dict.fromkeys(("WORKSPACE_BUSY", "REMOTE_UNAVAILABLE"), Code.UNAVAILABLE),
    **dict.fromkeys(("TOO_MANY_WORKSPACES", "TOO_LARGE"), Code.RESOURCE_EXHAUSTED),
    "GIT_TOO_SLOW": Code.DEADLINE_EXCEEDED,
    "REMOTE_REFUSED": Code.PERMISSION_DENIED,
}


class RepositoryError(Exception):
    """A call cannot be done.

    Args:
        reason: a name of `ErrorReason`, without its prefix. Those without a code of their own are FAILED_PRECONDITION.
        message: what happened, and what to do. Text of others may be in it: control characters are shown.
        retry_after_s: when it may be different.
    """

    def __init__(self, reason: str, message: str, *, retry_after_s: float | None = None) -> None:
        pb.ErrorReason.Value(_PREFIX + reason)
        super().__init__(message)
        self.reason = reason
        self.message = one_line(message)[:_MOST_CHARS]
        self.code = _CODES.get(reason, Code.FAILED_PRECONDITION)
        self.retry_after_s = retry_after_s

    def status(self) -> status_pb2.Status:
        """It as callers get it."""
        details: list[Message] = [error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)]
        if self.retry_after_s is not None:
            info = error_details_pb2.RetryInfo()
            info.retry_delay.FromMilliseconds(round(self.retry_after_s * 1000))
            details.append(info)
        return make_status(self.code, self.message, details)
