"""A handler that is found only while its call waits: who calls must be asked first, or what is called is being opened.

gRPC wants a handler, with its shape, when a call's head arrives, and at once. Any shape of call fits a stream of bytes in both directions on
the wire. So the call is served as that, and the handler that is found sees the shape that it has.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc import aio

from weft.rpc import refusals
from weft.rpc.calls import relay
from weft.rpc.errors import WeftError
from weft.rpc.handler_shape import behaviour_of, written
from weft.rpc.network.gone import to_caller

# Finds the handler of a call, by its context. None: there is none.
Find = Callable[[Any], Awaitable[Any]]


def late_handler(find: Find) -> Any:
    """A handler for one call. If `find` raises a `WeftError`, the call ends with it."""

    async def found_late(requests: AsyncIterator[bytes], context: Any) -> None:
        try:
            handler = await find(context)
        except WeftError as error:
            await relay.refuse(error, context)
            raise
        if handler is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        await _run(handler, requests, context)

    return grpc.stream_stream_rpc_method_handler(found_late)


async def _run(handler: Any, requests: AsyncIterator[bytes], context: Any) -> None:
    read = handler.request_deserializer or _same
    late = _LateContext(context, read, handler.response_serializer or _same)
    _, behaviour = behaviour_of(handler)
    if inspect.isasyncgenfunction(behaviour):
        behaviour = written(behaviour)
    if handler.request_streaming:
        request: Any = (read(each) async for each in requests)
    else:
        request = read(await _only(requests, context))
    response = await behaviour(request, late)
    if not handler.response_streaming:
        await late.write(response)


async def _only(requests: AsyncIterator[bytes], context: Any) -> bytes:
    async for request in requests:
        return request
    await relay.refuse(refusals.payload_malformed("the call has no request"), context)
    raise AssertionError("refusals are raised")


def _same(message: bytes) -> bytes:
    return message


class _LateContext:
    """The context of a call that is served as bytes, for a handler that has messages."""

    def __init__(
        self, context: Any, read: Callable[[bytes], Any], written_as: Callable[[Any], bytes]
    ) -> None:
        self._context = context
        self._read = read
        self._written_as = written_as

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, message: Any) -> None:
        await to_caller(self._context.write(self._written_as(message)))

    async def read(self) -> Any:
        message = await self._context.read()
        return message if message is aio.EOF else self._read(message)
