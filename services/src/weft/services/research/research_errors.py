"""What can go wrong with a question: a code, a reason of the contract, and a sentence that helps."""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2, status_pb2

from weft.rpc.errors import make_status
from weft.rpc.visible import one_line

DOMAIN = "weft.services.research"
_CODES = {
    "NO_CORPUS": grpc.StatusCode.FAILED_PRECONDITION,
    "NOT_DURABLE": grpc.StatusCode.FAILED_PRECONDITION,
    "NO_SANDBOX": grpc.StatusCode.FAILED_PRECONDITION,
    "CORPUS_FAILED": grpc.StatusCode.UNAVAILABLE,
}
_MOST_CHARS = 700


class ResearchError(Exception):
    """A question cannot be answered.

    Args:
        reason: one of the contract's.
        message: what happened, and what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = one_line(message)[:_MOST_CHARS]
        self.code = _CODES[reason]

    def status(self) -> status_pb2.Status:
        """It as callers get it."""
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain=DOMAIN)
        return make_status(self.code, self.message, [info])
