"""Runs one handler once and returns its outcome. Never raises: each end of a handler becomes an outcome.

All user code runs through this module: on the event loop, in threads and in isolated processes, for durable attempts
and direct calls. The module knows nothing of slots, sessions or reports.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc.aio
from google.protobuf.message import DecodeError

from weft.agent.handlers import outcomes
from weft.agent.handlers.handler_context import AsyncContext, HandlerContext, SyncContext
from weft.agent.hosting.function_messages import InvalidFields
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.agent.hosting.payload_checks import MessageRefused
from weft.agent.process.event_loop import is_interrupt
from weft.agent.process.failure_log import log_late, log_raised
from weft.agent.steps.suspended import is_suspended, outcome_of
from weft.rpc import refusals
from weft.rpc.calls import call_context
from weft.rpc.errors import FieldViolation, InvalidArgument, WeftError
from weft.rpc.payloads.payload_options import CODED_PREFIX
from weft.v1 import errors_pb2, task_pb2

# Described fields of a request that does not fit its model.
_MOST_VIOLATIONS = 20
_MOST_DESCRIPTION = 200


class MalformedRequest(InvalidArgument):
    """A request that does not parse, or does not fit its model."""

    def __init__(self, hosted: HostedMethod, error: Exception) -> None:
        fields = error.violations if isinstance(error, InvalidFields) else ()
        wrong = "has wrong fields" if fields else f"is not a {hosted.types[0].full_name}"
        super().__init__(
            f"the payload {wrong}: {error}",
            reason=errors_pb2.ERROR_REASON_PAYLOAD_MALFORMED,
            field=fields[0][0] if fields else "payload",
            violations=[
                FieldViolation(path, description[:_MOST_DESCRIPTION])
                for path, description in fields[:_MOST_VIOLATIONS]
            ],
        )


class CodedRequestUnread(MessageRefused):
    """A coded request, at an agent that codes nothing."""

    def __init__(self, hosted: HostedMethod) -> None:
        super().__init__(outcomes.of_error(coded_unread(hosted.name)))


def coded_unread(method: str) -> WeftError:
    """The refusal of a coded request where nothing is decoded."""
    return refusals.payload_coded(
        f"the request of {method} is coded, and this agent codes nothing: give it the keys"
        " (WEFT_AGENT_PAYLOAD_KEYS_FILE), the codec or the store of its callers",
        method,
    )


def _unread(hosted: HostedMethod, error: Exception, payload: bytes) -> WeftError:
    if payload.startswith(CODED_PREFIX):
        return CodedRequestUnread(hosted)
    return MalformedRequest(hosted, error)


def strict(hosted: HostedMethod) -> Callable[[bytes], Any]:
    """The deserializer of a method with a stream of requests; raises `MalformedRequest` and `RulesBroken`."""
    deserialize, checks = hosted.deserialize, hosted.checks

    def parse(raw: bytes) -> Any:
        try:
            request = deserialize(raw)
        except (DecodeError, ValueError) as error:
            raise _unread(hosted, error, raw) from None
        if checks is not None:
            checks.check_request(request)
        return request

    return parse


async def invoke_async(
    hosted: HostedMethod,
    context: AsyncContext,
    send: Callable[[bytes], Awaitable[None]],
    *,
    direct: bool = False,
) -> task_pb2.Outcome:
    """Run an async handler.

    Args:
        send: takes the serialized responses of a streaming one.
        direct: it is a direct call: no coordinator has checked the request by the rules of its contract.
    """
    call_context.enter(context)
    try:
        try:
            request = context.request(hosted)
        except (DecodeError, ValueError) as error:
            raise _unread(hosted, error, context.request_bytes) from None
        if direct and hosted.checks is not None and not hosted.request_streaming:
            hosted.checks.check_request(request)
        if hosted.response_streaming:
            await _stream_async(hosted, context, request, send)
            return context.outcome(b"")
        response = await hosted.behavior(request, context)
        if context.failed:
            return context.outcome(b"")
        serialized = hosted.serialize(response)
        if hosted.checks is not None:
            hosted.checks.check_response(response)
        return context.outcome(serialized)
    except BaseException as error:
        # Every BaseException: a KeyboardInterrupt or a SystemExit would stop asyncio's loop.
        if is_interrupt(error):
            asyncio.get_running_loop().call_soon(_interrupt)
        return _ended_by(error, context)
    finally:
        context.finish()


def _interrupt() -> None:
    """Pass on a SIGINT that came while a handler ran: it is for the application around the agent."""
    raise KeyboardInterrupt


async def _stream_async(
    hosted: HostedMethod, context: AsyncContext, request: Any, send: Callable[[bytes], Awaitable[None]]
) -> None:
    async def write(response: Any) -> None:
        serialized = hosted.serialize(response)
        if hosted.checks is not None:
            hosted.checks.check_response(response)
        context.headers_gone = True
        await send(serialized)

    context.send = write
    responses = hosted.behavior(request, context)
    if not hasattr(responses, "__aiter__"):
        # A coroutine that calls `context.write`.
        await responses
        return
    async with contextlib.aclosing(responses) if hasattr(responses, "aclose") else contextlib.nullcontext():
        async for response in responses:
            await write(response)


def invoke_sync(
    hosted: HostedMethod, context: SyncContext, send: Callable[[bytes], bool], *, direct: bool = False
) -> task_pb2.Outcome:
    """Run a sync handler.

    Args:
        send: takes the serialized responses of a streaming one, and returns whether to go on.
        direct: as `invoke_async`.
    """
    call_context.enter(context)
    try:
        try:
            request = context.request(hosted)
        except (DecodeError, ValueError) as error:
            raise _unread(hosted, error, context.request_bytes) from None
        if direct and hosted.checks is not None and not hosted.request_streaming:
            hosted.checks.check_request(request)
        response = hosted.behavior(request, context)
        if hasattr(response, "__await__"):
            response.close()
            raise TypeError(
                "a plain `def` returned a coroutine: a decorator around an async handler must be `async def` too"
            )
        if hosted.response_streaming:
            with contextlib.closing(response) if hasattr(response, "close") else contextlib.nullcontext():
                for item in response:
                    serialized = hosted.serialize(item)
                    if hosted.checks is not None:
                        hosted.checks.check_response(item)
                    context.headers_gone = True
                    # As a grpc server does: if the stream has no reader any more, the handler is not asked for more
                    # responses.
                    if not (context.is_active() and send(serialized)):
                        return outcomes.cancelled(context.cancel_reason)
            response = None
        if context.given_up:
            return outcomes.cancelled(context.cancel_reason)
        if context.failed or hosted.response_streaming:
            return context.outcome(b"")
        serialized = hosted.serialize(response)
        if hosted.checks is not None:
            hosted.checks.check_response(response)
        return context.outcome(serialized)
    except BaseException as error:
        return _ended_by(error, context)
    finally:
        context.finish()


def _ended_by(error: BaseException, context: HandlerContext) -> task_pb2.Outcome:
    """The outcome of a handler that raised."""
    try:
        return _told(error, context)
    except BaseException as broken:
        # No outcome can be made from the values that the handler set.
        log_raised("handler.outcome_invalid", broken, **context.log_fields())
        return outcomes.handler_failed(context.assignment.method)


def _told(error: BaseException, context: HandlerContext) -> task_pb2.Outcome:
    # By `type()`: an exception may claim another class by `__class__`.
    kind = type(error)
    if context.aborted and issubclass(kind, grpc.aio.AbortError):
        return context.outcome(b"")
    if issubclass(kind, MessageRefused):
        return cast("MessageRefused", error).outcome
    if issubclass(kind, MalformedRequest):
        # Requests of a stream are parsed as they are read.
        return outcomes.of_error(cast("MalformedRequest", error))
    if context.suspension is not None and is_suspended(error) and not context.cancel_signal:
        return outcome_of(context.suspension, context.waits_for)
    if context.was_cancelled(kind):
        if not issubclass(kind, asyncio.CancelledError | grpc.aio.BaseError):
            log_late("handler.raised_after_cancellation", error, **context.log_fields())
        return outcomes.cancelled(context.cancel_reason)
    if issubclass(kind, WeftError) and _is_own(cast("WeftError", error)):
        outcome = context.outcome(b"")
        outcome.status.CopyFrom(cast("WeftError", error).status())
        return outcome
    told = log_raised("handler.failed", error, **context.log_fields())
    outcome = context.outcome(b"")
    if not context.failed:
        # A handler that chose a status and then raised is no failure: generated base classes do so for methods without
        # code.
        outcome.status.CopyFrom(outcomes.handler_failed(context.assignment.method).status)
    # Operators see it, callers do not.
    outcome.error.CopyFrom(told)
    return outcome


def _is_own(error: WeftError) -> bool:
    """Whether the handler made this error to end its call with it. A failure of a call that the handler made is none: it has what
    was received, or weft's reason."""
    return error.received is None and error.reason == errors_pb2.ERROR_REASON_UNSPECIFIED
