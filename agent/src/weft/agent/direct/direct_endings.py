"""How direct calls end: with a refusal before the handler starts, or with the handler's outcome.

The text of an exception stays in the log: it may hold secrets.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, NoReturn

from google.rpc import status_pb2
from grpc import aio

from weft.agent.direct.load_trailers import LoadReports, merged
from weft.agent.handlers.handler_context import HandlerContext
from weft.agent.handlers.slots import Slots
from weft.rpc import refusals
from weft.rpc.calls import metadata
from weft.rpc.calls.answer_in_time import late, usable_s
from weft.rpc.calls.metadata import NO_WAIT_KEY, Pairs
from weft.rpc.errors import (
    STATUS_DETAILS_KEY,
    WeftError,
    status_code,
)
from weft.rpc.network.gone import to_caller
from weft.v1 import task_pb2

# Callers ask a full agent again no sooner than this. Other agents may be free at once.
RETRY_AFTER_S = 0.1

# Timers of event loops may fire this much too early.
_EARLY_S = 0.002

_OVERLOADED = refusals.overloaded("all slots of this agent are taken", retry_after_s=RETRY_AFTER_S)
_STOPPING = refusals.stopping("this agent takes no new calls")


async def no_slot(slots: Slots, cost: int, context: Any, agent_id: str) -> WeftError | None:
    """Take slots for a direct call. If none are free, wait, unless the caller has other agents to try.

    Returns:
        The refusal. None if the call has its slots.
    """
    if slots.take_direct(cost):
        return None
    if any(key == NO_WAIT_KEY for key, _ in context.invocation_metadata() or ()):
        return _OVERLOADED if slots.direct_open else _STOPPING
    return await no_slot_in_time(slots, cost, context.time_remaining(), agent_id)


async def no_slot_in_time(slots: Slots, cost: int, left_s: float | None, agent_id: str) -> WeftError | None:
    """The same for a caller that waits, until its deadline if that is sooner.

    Args:
        left_s: of the call's time; None: it has no deadline.
    """
    began_at = time.monotonic()
    most_s = None if left_s is None else usable_s(left_s)
    if await slots.wait_direct(cost, most_s):
        return None
    if not slots.direct_open:
        return _STOPPING
    waited_s = time.monotonic() - began_at
    if most_s is not None and waited_s >= most_s - _EARLY_S:
        return late(waited_s, f"a slot: all {slots.total} of agent {agent_id} are taken")
    return _OVERLOADED


def not_hosted(method: str) -> WeftError:
    return refusals.method_not_hosted(f"this agent does not host {method}")


# Why a call's task was cancelled, where its caller still waits. None: for no reason that the caller should know.
WhyEnded = Callable[[asyncio.Task[Any]], WeftError | None]


class Endings:
    """Ends calls on the native context of their RPC: the one place that gives it a status and trailers.

    Args:
        why_ended: of calls whose callers may not call any more.
    """

    def __init__(self, load: LoadReports, why_ended: WhyEnded = lambda _task: None) -> None:
        self._load = load
        self._why_ended = why_ended
        # The server is being stopped: the calls that it cancels get no answer.
        self.closing = False

    async def refuse(self, error: WeftError, native: Any) -> NoReturn:
        """Answer with an error of weft's own."""
        await _fail(error.status(), None, (), native, self._load.trailers())

    async def answer(
        self, outcome: task_pb2.Outcome, context: HandlerContext, native: Any, load: Pairs
    ) -> bytes:
        """Answer with a handler's outcome, and with the agent's load at its end. Returns the response.

        Args:
            context: the handler's own. All that an isolated handler set is in the outcome.
        """
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            await self._calm(task)
            if (why := self._why_ended(task)) is not None:
                await self.refuse(why, native)
        own = context.trailing_metadata()
        if not own and outcome.trailers:
            own = metadata.from_proto(outcome.trailers)
        status = outcome.status
        if status.code:
            chosen = context.code()
            as_given = chosen is not None and chosen.value[0] == status.code
            await _fail(status, context.rich_status if as_given else None, own, native, load)
        native.set_trailing_metadata(merged(own, load))
        return outcome.response

    async def _calm(self, task: asyncio.Task[Any]) -> None:
        """Take back the cancellation of this RPC's task.

        The handler may have cancelled its own task while its caller still waits. If the caller is gone, an answer does
        no harm.

        Raises:
            CancelledError: the server is being stopped.
        """
        if self.closing:
            raise asyncio.CancelledError
        while task.cancelling():
            task.uncancel()
        # A cancellation that was not delivered yet is delivered at the next wait.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)


async def _fail(
    status: status_pb2.Status, rich: bytes | None, own: Pairs, native: Any, load: Pairs
) -> NoReturn:
    """End a call with a failure.

    Args:
        rich: the status as the handler gave it with its trailers.
        own: the handler's trailers.
    """
    trailers = [pair for pair in own if pair[0] != STATUS_DETAILS_KEY]
    if rich is None and status.details:
        rich = status.SerializeToString()
    if rich is not None:
        trailers.append((STATUS_DETAILS_KEY, rich))
    await to_caller(native.abort(status_code(status.code), status.message, merged(trailers, load)))
    raise aio.AbortError
