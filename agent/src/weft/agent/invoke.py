"""Runs one handler once and says what came of it. Never raises: whatever the handler does is an outcome.

Used on the event loop, in threads and in isolated processes alike; it knows nothing of slots, sessions or reports.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import DecodeError

from weft.agent import outcomes
from weft.agent.context import AsyncContext, HandlerContext, SyncContext
from weft.agent.hosting import Hosted
from weft.agent.running import enter
from weft.rpc.errors import InvalidArgument, ResourceExhausted, Unknown
from weft.rpc.logs import get_logger
from weft.rpc.raised import handler_error
from weft.v1 import errors_pb2, task_pb2

_log = get_logger("weft.agent")


class ResponseTooLarge(ResourceExhausted):
    """A streaming handler sent a response over the limit: raised where it sends, and its outcome."""

    def __init__(self, outcome: task_pb2.Outcome) -> None:
        super().__init__(outcome.status.message)
        # What a handler answers that passes on what it catches, as a relay does.
        self.received = outcome.status
        self.outcome = outcome


class MalformedRequest(InvalidArgument):
    """A request that does not parse: what the call is answered with."""

    def __init__(self, hosted: Hosted, error: Exception) -> None:
        super().__init__(
            f"the payload is not a {hosted.types[0].full_name}: {error}",
            reason=errors_pb2.ERROR_REASON_PAYLOAD_MALFORMED,
            field="payload",
        )


async def invoke_async(
    hosted: Hosted, context: AsyncContext, send: Callable[[bytes], Awaitable[None]]
) -> task_pb2.Outcome:
    """Run an async handler; `send` takes the serialized responses of a streaming one."""
    enter(context)
    try:
        try:
            request = context.request(hosted)
        except (DecodeError, ValueError) as error:
            return outcomes.of_error(MalformedRequest(hosted, error))
        if hosted.response_streaming:
            await _stream_async(hosted, context, request, send)
            return context.outcome(b"")
        response = await hosted.behavior(request, context)
        return context.outcome(b"" if context.failed else hosted.serialize(response))
    except (Exception, asyncio.CancelledError, SystemExit) as error:
        return _ended_by(error, context)
    finally:
        context.finish()


async def _stream_async(
    hosted: Hosted, context: AsyncContext, request: Any, send: Callable[[bytes], Awaitable[None]]
) -> None:
    async def write(response: Any) -> None:
        await send(hosted.serialize(response))

    context.send = write
    responses = hosted.behavior(request, context)
    if not hasattr(responses, "__aiter__"):
        # A coroutine that calls `context.write`.
        await responses
        return
    async with contextlib.aclosing(responses) if hasattr(responses, "aclose") else contextlib.nullcontext():
        async for response in responses:
            await send(hosted.serialize(response))


def invoke_sync(hosted: Hosted, context: SyncContext, send: Callable[[bytes], bool]) -> task_pb2.Outcome:
    """Run a sync handler; `send` takes the serialized responses of a streaming one, and says whether to go on."""
    enter(context)
    try:
        try:
            request = context.request(hosted)
        except (DecodeError, ValueError) as error:
            return outcomes.of_error(MalformedRequest(hosted, error))
        response = hosted.behavior(request, context)
        if hasattr(response, "__await__"):
            response.close()
            raise TypeError(
                "a plain `def` returned a coroutine: a decorator around an async handler must be `async def` too"
            )
        if hosted.response_streaming:
            with contextlib.closing(response) if hasattr(response, "close") else contextlib.nullcontext():
                for item in response:
                    # As a grpc server does: a stream that nobody reads any more is not drawn further.
                    if not (context.is_active() and send(hosted.serialize(item))):
                        return outcomes.cancelled(context.cancel_reason)
            response = None
        if context.given_up:
            return outcomes.cancelled(context.cancel_reason)
        if context.failed or hosted.response_streaming:
            return context.outcome(b"")
        return context.outcome(hosted.serialize(response))
    except (Exception, SystemExit) as error:
        return _ended_by(error, context)
    finally:
        context.finish()


def _ended_by(error: BaseException, context: HandlerContext) -> task_pb2.Outcome:
    """The outcome of a handler that raised."""
    if context.aborted:
        return context.outcome(b"")
    if isinstance(error, ResponseTooLarge):
        return error.outcome
    if isinstance(error, MalformedRequest):
        # Of a stream of requests, which are parsed as they are read.
        return outcomes.of_error(error)
    assignment = context.assignment
    if context.cancel_signal:
        if not isinstance(error, asyncio.CancelledError):
            _log.info(
                "a cancelled handler raised",
                task_id=assignment.task_id,
                attempt=assignment.attempt,
                error=repr(error),
            )
        return outcomes.cancelled(context.cancel_reason)
    _log.error(
        "handler failed",
        method=assignment.method,
        task_id=assignment.task_id,
        attempt=assignment.attempt,
        exc_info=error,
    )
    outcome = context.outcome(b"")
    if not context.failed:
        # Not where it chose a status and then raised, as generated base classes do for methods that are not implemented.
        # The exception's text may hold what callers must not see: it goes to operators alone.
        outcome.status.CopyFrom(
            Unknown(
                f"the handler of {assignment.method} raised an exception; the agent's log has it"
            ).status()
        )
    outcome.error.CopyFrom(handler_error(error))
    return outcome
