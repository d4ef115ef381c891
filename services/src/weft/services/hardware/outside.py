"""Errors of what the hardware service asks elsewhere: an engine of containers, a cluster of pods."""

from __future__ import annotations

from typing import Self

import grpc

from weft.rpc.process.extras import install_command
from weft.rpc.raised import line_of

_MOST_CHARS = 300


class OutsideError(Exception):
    """What was asked for cannot be had.

    Args:
        code: what the caller gets.
        message: what happened, and what to do.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @classmethod
    def missing(cls, package: str) -> Self:
        """A package of the extra is not installed."""
        return cls(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"the agent needs the package {package} for this: {install_command('hardware')}",
        )

    @classmethod
    def silent(cls, what: str, error: BaseException) -> Self:
        """It does not answer, or not as it should."""
        why = "it took too long" if isinstance(error, TimeoutError) else line_of(error)
        # Not UNAVAILABLE: it is not the agent that is away, and a retry, or a mark against the agent, would help nobody.
        return cls(grpc.StatusCode.FAILED_PRECONDITION, f"{what} gives no answer: {why}"[:_MOST_CHARS])
