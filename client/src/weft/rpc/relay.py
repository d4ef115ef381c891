"""Passing calls on as they are: bytes in, bytes out, and neither end can tell.

    caller ─► server here ─► relay ─► channel ─► callee
           ◄─ initial metadata only where the callee sent some ◄─
           ◄─ responses, status, message, details, trailers    ◄─
           ─► cancellation, deadline, half-close               ─►

The channel may be a plain one or one that balances. A call whose shape is not known passes as stream-stream, which all
shapes are on the wire; where it is known, the unary forms cost half.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import grpc
from grpc import aio

from weft.rpc import metadata
from weft.v1 import fleet_pb2

Context = aio.ServicerContext[bytes, bytes]
# What goes out for a call's metadata: the application's own entries, and what a hop adds.
Outgoing = Callable[[Context], metadata.Pairs]

_SHAPES = {
    fleet_pb2.METHOD_KIND_UNARY: "unary_unary",
    fleet_pb2.METHOD_KIND_SERVER_STREAMING: "unary_stream",
    fleet_pb2.METHOD_KIND_CLIENT_STREAMING: "stream_unary",
    fleet_pb2.METHOD_KIND_BIDI_STREAMING: "stream_stream",
}


def passed_on(context: Context) -> metadata.Pairs:
    """The caller's metadata without what belongs to one hop; the trace goes on."""
    pairs: Iterable[tuple[str, str | bytes]] = context.invocation_metadata() or ()
    return tuple(
        (key, value)
        for key, value in pairs
        if metadata.belongs_to_caller(key) or key in ("traceparent", "tracestate")
    )


def handler(
    channel: aio.Channel,
    path: str,
    kind: fleet_pb2.MethodKind = fleet_pb2.METHOD_KIND_UNSPECIFIED,
    outgoing: Outgoing = passed_on,
) -> grpc.RpcMethodHandler[Any, Any]:
    """What serves a method by passing its calls on.

    Args:
        channel: where they go.
        path: "/package.Service/Method", as it is called there.
        kind: the shape; unspecified: not known.
        outgoing: makes the metadata that goes along.
    """
    shape = _SHAPES.get(kind, "stream_stream")
    call = getattr(channel, shape)(path)
    one_request, one_response = shape.startswith("unary"), shape.endswith("unary")

    async def unary_unary(request: bytes, context: Context) -> Any:
        return await _one_response(call(request, **_how(context, outgoing)), context)

    async def stream_unary(requests: AsyncIterator[bytes], context: Context) -> Any:
        return await _one_response(call(requests, **_how(context, outgoing)), context)

    async def unary_stream(request: bytes, context: Context) -> None:
        await _responses(call(request, **_how(context, outgoing)), context)

    async def stream_stream(requests: AsyncIterator[bytes], context: Context) -> None:
        await _responses(call(requests, **_how(context, outgoing)), context)

    make: Any = getattr(grpc, f"{shape}_rpc_method_handler")
    behaviours: dict[tuple[bool, bool], Callable[..., Awaitable[Any]]] = {
        (True, True): unary_unary,
        (False, True): stream_unary,
        (True, False): unary_stream,
        (False, False): stream_stream,
    }
    made: grpc.RpcMethodHandler[Any, Any] = make(behaviours[one_request, one_response])
    return made


def _how(context: Context, outgoing: Outgoing) -> dict[str, Any]:
    left_s = context.time_remaining()
    return {"metadata": outgoing(context), "timeout": None if left_s is None else max(0.0, left_s)}


async def _one_response(call: Any, context: Context) -> bytes:
    try:
        try:
            response: bytes = await call
        except aio.AioRpcError as error:
            await _fail(error, context)
            raise
        await _send_headers(await call.initial_metadata(), context)
        context.set_trailing_metadata(tuple(await call.trailing_metadata()))
        return response
    finally:
        # Whoever asked may have gone; a call that has ended does not mind.
        call.cancel()


async def _responses(call: Any, context: Context) -> None:
    try:
        try:
            await _send_headers(await call.initial_metadata(), context)
            while (response := await call.read()) is not aio.EOF:
                await context.write(response)
        except aio.AioRpcError as error:
            await _fail(error, context)
            raise
        code = await call.code()
        trailers = tuple(await call.trailing_metadata())
        if code is not grpc.StatusCode.OK:
            await context.abort(code, await call.details() or "", trailers)
        context.set_trailing_metadata(trailers)
    finally:
        call.cancel()


async def _send_headers(headers: Any, context: Context) -> None:
    pairs = tuple(headers or ())
    if pairs:
        await context.send_initial_metadata(pairs)


async def _fail(error: aio.AioRpcError, context: Context) -> None:
    """End the call as the callee ended it. Always raises."""
    await _send_headers(error.initial_metadata(), context)
    await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
