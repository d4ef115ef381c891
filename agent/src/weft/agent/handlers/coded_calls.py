"""Handlers whose callers may code their payloads: requests are decoded before the handler's start, answers coded after its end.

The answers of a call are coded if its request is: stock callers get what they always got. Where the coordinator could not read a
request, its rules are checked here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from weft.agent.handlers import outcomes
from weft.agent.handlers.handler_run import HandlerRun
from weft.agent.handlers.invoke import invoke_async, invoke_sync, strict
from weft.agent.hosting.payload_checks import MessageRefused
from weft.rpc import refusals
from weft.rpc.calls.metadata import CODED_KEY
from weft.rpc.errors import WeftError
from weft.rpc.payloads import coded_failure
from weft.rpc.payloads.envelope import is_coded, opened
from weft.rpc.payloads.payload_coder import EVENT, REQUEST, RESPONSE, PayloadCoder
from weft.v1 import payload_pb2, task_pb2

T = TypeVar("T")
Outcome = task_pb2.Outcome
# Parses one request of a stream.
Parse = Callable[[bytes], Any]


async def run_async(coder: PayloadCoder, run: HandlerRun) -> Outcome:
    """Run an async handler."""
    hosted, context, name = run.hosted, run.context, run.hosted.name
    try:
        coded = _is_coded(run)
        _check_required(coder, name, coded=coded)
        if coded and not hosted.request_streaming:
            kind, names = _belongs(run)
            context.request_bytes = await coder.decode_async(context.request_bytes, kind, names)
    except WeftError as error:
        context.finish()
        return outcomes.of_error(error)
    except asyncio.CancelledError:
        context.finish()
        return outcomes.cancelled(context.cancel_reason)
    if hosted.request_streaming:
        context.decode = _decoding(coder, name, strict(hosted), coded=coded)
    if not coded:
        return await invoke_async(hosted, context, run.send, direct=run.direct)

    async def send(response: bytes) -> None:
        await run.send(await coder.encode_async(response, RESPONSE, name))

    outcome = await invoke_async(hosted, context, send, direct=True)
    try:
        if outcome.status.code:
            context.forget_rich_status()
            return coded_failure.coded_outcome(coder, outcome, name, with_error=run.tells_errors)
        if not hosted.response_streaming:
            outcome.response = await coder.encode_async(outcome.response, RESPONSE, name)
    except WeftError as error:
        return outcomes.of_error(error)
    except asyncio.CancelledError:
        return outcomes.cancelled(context.cancel_reason)
    return outcome


def run_sync(coder: PayloadCoder, run: HandlerRun) -> Outcome:
    """Run a handler in this thread."""

    def invoke(send: Callable[[bytes], bool], *, direct: bool) -> Outcome:
        return invoke_sync(run.hosted, run.context, send, direct=direct)

    return within(coder, run, invoke)


def within(coder: PayloadCoder, run: HandlerRun, invoke: Callable[..., Outcome]) -> Outcome:
    """Run a handler by `invoke(send, direct=…)`, in a thread.

    Args:
        invoke: `direct` as in `invoke_sync`: nobody has checked the request.
    """
    hosted, context, name = run.hosted, run.context, run.hosted.name
    try:
        coded = _is_coded(run)
        _check_required(coder, name, coded=coded)
        if coded and not hosted.request_streaming:
            context.request_bytes = coder.decode(context.request_bytes, *_belongs(run))
    except WeftError as error:
        context.finish()
        return outcomes.of_error(error)
    if hosted.request_streaming:
        context.decode = _decoding_here(coder, name, strict(hosted), coded=coded)
    if not coded:
        return invoke(run.send_blocking, direct=run.direct)

    def send(response: bytes) -> bool:
        return run.send_blocking(coder.encode(response, RESPONSE, name))

    outcome = invoke(send, direct=True)
    try:
        if outcome.status.code:
            context.forget_rich_status()
            return coded_failure.coded_outcome(coder, outcome, name, with_error=run.tells_errors)
        if not hosted.response_streaming:
            outcome.response = coder.encode(outcome.response, RESPONSE, name)
    except WeftError as error:
        return outcomes.of_error(error)
    return outcome


def _is_coded(run: HandlerRun) -> bool:
    if not run.hosted.request_streaming:
        return is_coded(run.context.request_bytes)
    return any(key == CODED_KEY for key, _ in run.context.invocation_metadata() or ())


def _belongs(run: HandlerRun) -> tuple[payload_pb2.PayloadKind, tuple[str]]:
    """What a coded request must be: one of the method, or an event of its message type, which became a task.

    Raises:
        DataLoss: it is damaged.
    """
    if opened(run.context.request_bytes).header.kind == EVENT:
        return EVENT, (run.hosted.types[0].full_name,)
    return REQUEST, (run.hosted.name,)


def _check_required(coder: PayloadCoder, method: str, *, coded: bool) -> None:
    if coder.options.required and not coded:
        raise refusals.payload_coded(
            f"calls of {method} must be encrypted here, and this one is not:"
            " give the client the keys (WEFT_PAYLOAD_KEYS_FILE)",
            method,
        )


class _Undecodable(MessageRefused):
    """A request of a stream cannot be decoded."""

    def __init__(self, error: WeftError) -> None:
        super().__init__(outcomes.of_error(error))


def _decoding(
    coder: PayloadCoder, method: str, parse: Parse, *, coded: bool
) -> Callable[[bytes], Awaitable[Any]]:
    """Decodes and parses one request of a stream."""

    async def decode(raw: bytes) -> Any:
        try:
            _check_each(method, raw, coded=coded)
            return parse(await coder.decode_async(raw, REQUEST, (method,)) if coded else raw)
        except MessageRefused:
            raise
        except WeftError as error:
            raise _Undecodable(error) from None

    return decode


def _decoding_here(coder: PayloadCoder, method: str, parse: Parse, *, coded: bool) -> Parse:
    """The same in a thread."""

    def decode(raw: bytes) -> Any:
        try:
            _check_each(method, raw, coded=coded)
            return parse(coder.decode(raw, REQUEST, (method,)) if coded else raw)
        except MessageRefused:
            raise
        except WeftError as error:
            raise _Undecodable(error) from None

    return decode


def _check_each(method: str, raw: bytes, *, coded: bool) -> None:
    if coded != is_coded(raw):
        raise refusals.payload_coded(
            f"a stream of requests of {method} has coded and other ones: all or none must be coded", method
        )
