"""The outermost wrapper of every handler: each fault becomes a typed error, and no internal text leaks.

`WeftError` becomes its status with details. Cancellation and `abort` pass. Any other exception is a fault of weft: it is logged
with its traceback and answered with INTERNAL, without its text.

A request that does not parse is the client's fault. gRPC would answer UNKNOWN and log a traceback. So a guarded servicer is added
through `Lenient`, and reads streams of requests through `parsed` (or answers with `malformed`).
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from grpc import aio

from weft.rpc import refusals
from weft.rpc.calls.metadata import Pairs
from weft.rpc.errors import (
    STATUS_DETAILS_KEY,
    Internal,
    InvalidArgument,
    WeftError,
    status_code,
)
from weft.rpc.network.gone import to_caller
from weft.rpc.network.routes import Routes
from weft.rpc.process.logs import get_logger

log = get_logger(__name__)

ABORT_S = 5.0

T = TypeVar("T")
Unary = TypeVar("Unary", bound=Callable[..., Awaitable[Any]])


async def abort(
    context: aio.ServicerContext[Any, Any],
    status: status_pb2.Status,
    trailers: tuple[tuple[str, str | bytes], ...] = (),
) -> None:
    """End a call with a status, its details, and trailers. Always raises."""
    if status.details:
        trailers = (*trailers, (STATUS_DETAILS_KEY, status.SerializeToString()))
    try:
        async with asyncio.timeout(ABORT_S):
            await to_caller(
                context.abort(status_code(status.code), status.message, trailing_metadata=trailers)
            )
    except TimeoutError:
        # The peer does not read. grpc keeps the status for it; this side ends without an error.
        raise asyncio.CancelledError from None


def fault(name: str) -> Internal:
    """Log the exception that is being handled; the error to answer with."""
    log.error("rpc.failed", rpc=name, exc_info=sys.exc_info())
    return refusals.internal("the coordinator failed to handle this call; its log has the rest")


def unary(handler: Unary) -> Unary:
    """Guard a handler that returns its response (or, for a stream, writes to the context)."""

    @functools.wraps(handler)
    async def guarded(self: object, request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await handler(self, _well_formed(request), context)
        except WeftError as error:
            failure = error
        except aio.AbortError:
            raise
        except Exception:
            failure = fault(handler.__name__)
        return await abort(context, failure.status())

    return guarded  # type: ignore[return-value]


class StreamingService(Protocol):
    """A servicer whose streams end if a client does not read for `stalled_stream_s`."""

    stalled_stream_s: float


def stream(handler: Callable[..., AsyncIterator[Any]]) -> Callable[..., Awaitable[None]]:
    """Guard a handler that is an async generator of responses. The stream of a client that does not read is ended."""

    @functools.wraps(handler)
    async def guarded(self: StreamingService, request: Any, context: aio.ServicerContext[Any, Any]) -> None:
        try:
            responses = handler(self, _well_formed(request), context)
            headers: Pairs | None = ()
            try:
                async for response in responses:
                    await write(context, response, self.stalled_stream_s, headers=headers)
                    headers = None
            finally:
                await responses.aclose()  # type: ignore[attr-defined]
            return
        except WeftError as error:
            failure = error
        except aio.AbortError:
            raise
        except Exception:
            failure = fault(handler.__name__)
        await abort(context, failure.status())

    return guarded


async def write(
    context: aio.ServicerContext[Any, Any], response: Any, stalled_s: float, *, headers: Pairs | None
) -> None:
    """Write one response of a stream.

    Args:
        headers: the initial metadata, before the first response; None for later responses.

    Raises:
        ResourceExhausted: the client did not read for `stalled_s`.
        CallerGone: the client has left.
    """
    try:
        async with asyncio.timeout(stalled_s):
            if headers is not None:
                # Sent even if empty: else, if this write is given up, grpc.aio still waits to send it, and never sends a status.
                await to_caller(context.send_initial_metadata(headers))
            await to_caller(context.write(response))
    except TimeoutError:
        log.warning("stream.not_read", peer=context.peer(), stalled_s=stalled_s)
        raise refusals.overloaded(
            f"the stream was not read for {stalled_s:g} s and was closed; nothing stored is lost: ask again"
        ) from None


# -- requests that do not parse ---------------------------------------------------------------------------------------


class Lenient:
    """A server for generated code: requests that do not parse reach the guard, not gRPC's own handling.

    Args:
        wrapped: makes the handler that is served of a handler and its method.
    """

    def __init__(self, routes: Routes, wrapped: Callable[[Any, str], Any]) -> None:
        self._routes = routes
        self._wrapped = wrapped

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        for name, handler in handlers.items():
            method = f"{service}/{name}"
            self._routes.add(f"/{method}", self._wrapped(_lenient(handler), method))

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Generated code calls this with the same handlers; nothing to do."""


def _lenient(handler: Any) -> Any:
    if handler.request_streaming:
        return handler
    return handler._replace(request_deserializer=_deserializer(handler.request_deserializer))


@functools.cache
def _deserializer(deserialize: Callable[[bytes], T]) -> Callable[[bytes], T | InvalidArgument]:
    def lenient(message: bytes) -> T | InvalidArgument:
        try:
            return deserialize(message)
        except DecodeError as error:
            return malformed(error)

    return lenient


def malformed(error: DecodeError) -> InvalidArgument:
    """The error for a request that does not parse."""
    return refusals.payload_malformed(f"the request does not parse: {error}")


def _well_formed(request: T | InvalidArgument) -> T:
    if isinstance(request, InvalidArgument):
        raise request
    return request


async def parsed(requests: AsyncIterator[T]) -> AsyncIterator[T]:
    """A stream's requests.

    Raises:
        InvalidArgument: a request does not parse.
    """
    try:
        async for request in requests:
            yield request
    except DecodeError as error:
        raise malformed(error) from None
