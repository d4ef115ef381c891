"""Callers that leave while an answer is sent to them. This is no fault: it is counted, and logged at debug.

grpc.aio raises `ExecuteBatchError` from the sending, some time before it cancels the call's task. If nobody catches the error,
grpc.aio logs it with a traceback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from grpc import aio

from weft.rpc.process.logs import get_logger, leave_out

_log = get_logger(__name__)

T = TypeVar("T")

# grpc.aio's server logs here.
_GRPC = "grpc._cython.cygrpc"


class CallerGone(asyncio.CancelledError):
    """The caller has left. It stands for the cancellation of the call, which grpc.aio delivers later."""


class _Counter:
    calls = 0


def count() -> int:
    """How many callers have left while this process answered them."""
    return _Counter.calls


async def to_caller(sending: Awaitable[T]) -> T:
    """Await a sending to the caller (a message, metadata or an abort), and return its result.

    Raises:
        CallerGone: the caller has left.
        grpc.aio.AbortError: the sending was an abort.
    """
    try:
        return await sending
    except aio.AbortError:
        raise
    except aio.BaseError as error:
        raise caller_gone(error) from None


def caller_gone(error: BaseException) -> CallerGone:
    """Count a caller that has left. Returns the exception to raise."""
    _Counter.calls += 1
    _log.debug("call.caller_gone", error=repr(error))
    return CallerGone()


def quiet_grpc() -> None:
    """Drop the records of grpc's log that only say that a caller has left, from now on, in the whole process."""
    leave_out(_GRPC, _says_gone)


def _says_gone(error: BaseException | None) -> bool:
    if not isinstance(error, aio.InternalError):
        return False
    caller_gone(error)
    return True
