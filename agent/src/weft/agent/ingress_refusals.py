"""How direct calls end that no handler has answered: refused before one began, or failed in one.

Nothing of an exception's text goes out: it may hold what callers must not see, and stays in the log.
"""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import grpc
from grpc import aio

from weft.agent.hosting import Hosted
from weft.agent.ingress_load import LoadReports, merged
from weft.agent.invoke import MalformedRequest
from weft.agent.slots import Slots
from weft.rpc import metadata
from weft.rpc.errors import (
    STATUS_DETAILS_KEY,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
    Unknown,
    WeftError,
    status_code,
)
from weft.rpc.logs import get_logger
from weft.rpc.metadata import NO_WAIT_KEY, Pairs
from weft.v1 import errors_pb2, task_pb2

_log = get_logger("weft.agent")

# A full agent is asked again no sooner than this. Others may be free at once.
RETRY_AFTER_S = 0.1

_OVERLOADED = ResourceExhausted(
    "all slots of this agent are taken",
    reason=errors_pb2.ERROR_REASON_OVERLOADED,
    retry_after_s=RETRY_AFTER_S,
)
_STOPPING = Unavailable("this agent takes no new calls", reason=errors_pb2.ERROR_REASON_STOPPING)


async def has_slot(slots: Slots, cost: int, context: Any) -> bool:
    """Take slots for a direct call, after a wait if need be: not for a caller that has other agents to try."""
    if slots.take_direct(cost):
        return True
    if any(key == NO_WAIT_KEY for key, _ in context.invocation_metadata() or ()):
        return False
    return await slots.wait_direct(cost)


def no_slot(slots: Slots) -> WeftError:
    """Why a direct call was not given a slot."""
    return _OVERLOADED if slots.direct_open else _STOPPING


def not_hosted(method: str) -> WeftError:
    return Unimplemented(
        f"this agent does not host {method}", reason=errors_pb2.ERROR_REASON_METHOD_NOT_HOSTED
    )


class Endings:
    """Ends calls on the native context of their RPC."""

    def __init__(self, load: LoadReports) -> None:
        self._load = load

    async def refuse(self, error: WeftError, context: Any) -> NoReturn:
        """Answer with an error of weft's own."""
        await self.fail(task_pb2.Outcome(status=error.status()), context, self._load.trailers())

    async def fail(self, outcome: task_pb2.Outcome, context: Any, load: Pairs) -> NoReturn:
        """Answer with a failed outcome, as it is, and with the load as it was when the handler ended."""
        status = outcome.status
        own = [pair for pair in metadata.from_proto(outcome.trailers) if pair[0] != STATUS_DETAILS_KEY]
        if status.details:
            own.append((STATUS_DETAILS_KEY, status.SerializeToString()))
        await context.abort(status_code(status.code), status.message, merged(own, load))
        raise aio.AbortError

    async def raised(self, error: BaseException, hosted: Hosted, context: Any, load: Pairs) -> None:
        """A handler raised. Returns when it had chosen a failure by itself, with which gRPC then ends the call."""
        if isinstance(error, aio.BaseError) and not isinstance(error, aio.UsageError):
            # The call has ended: the handler aborted it, or the caller is gone.
            raise error
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise error
        if isinstance(error, MalformedRequest):
            await self.refuse(error, context)
        _log.error("handler failed", method=hosted.name, direct=True, exc_info=error)
        if chosen_failure(context):
            return
        status = Unknown(f"the handler of {hosted.name} raised an exception; the agent's log has it").status()
        trailers = (*context.trailing_metadata(), (STATUS_DETAILS_KEY, status.SerializeToString()))
        await context.abort(grpc.StatusCode.UNKNOWN, status.message, merged(trailers, load))


def chosen_failure(context: Any) -> bool:
    """Whether the handler set a status other than OK."""
    code = context.code()
    return code not in (None, 0, grpc.StatusCode.OK)
