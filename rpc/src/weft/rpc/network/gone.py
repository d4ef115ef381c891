"""Callers that leave while something is being sent to them: nobody's fault, so it is counted and told at debug, no more.

grpc.aio raises `ExecuteBatchError` from whatever was being sent, some time before it cancels the call's task, and logs it
with a traceback where it comes through.
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
    """The caller has left: the cancellation of its call, which is on the way, but now."""


class _Counter:
    calls = 0


def count() -> int:
    """How often a caller of this process has left while it was being answered."""
    return _Counter.calls


async def to_caller(sending: Awaitable[T]) -> T:
    """What is sent on a call here.

    Raises:
        CallerGone: it cannot be sent any more.
        grpc.aio.AbortError: it was an abort.
    """
    try:
        return await sending
    except aio.AbortError:
        raise
    except aio.BaseError as error:
        raise caller_gone(error) from None


def caller_gone(error: BaseException) -> CallerGone:
    """Counts a caller that has left, and is what to raise."""
    _Counter.calls += 1
    _log.debug("a caller left before its answer", error=repr(error))
    return CallerGone()


def quiet_grpc() -> None:
    """Take from grpc's log what only says that a caller has left, from now on, in the whole process."""
    leave_out(_GRPC, _says_gone)


def _says_gone(error: BaseException | None) -> bool:
    if not isinstance(error, aio.InternalError):
        return False
    caller_gone(error)
    return True
