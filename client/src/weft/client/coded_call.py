"""A call whose messages are coded: it has the interface of a grpc.aio call, over one that carries bytes.

call ─► the request is coded, in a thread if it is large ─► the plain call ─► responses and failures are decoded
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any, NamedTuple, NoReturn

import grpc
from google.protobuf.message import Message
from grpc import aio

from weft.rpc.errors import STATUS_DETAILS_KEY, WeftError, status_of_call
from weft.rpc.payloads import coded_failure
from weft.rpc.payloads.envelope import is_coded
from weft.rpc.payloads.payload_coder import REQUEST, RESPONSE, PayloadCoder
from weft.rpc.refusals import payload_coded


class Coding(NamedTuple):
    """How the messages of one method are coded."""

    coder: PayloadCoder
    method: str
    serialize: Callable[[Any], bytes] | None
    parse: Callable[[bytes], Any] | None
    # Nobody but the callee reads what is put into the store for a call.
    direct: bool

    def bytes_of(self, request: Any) -> bytes:
        """A request as bytes that are the same for equal requests."""
        if isinstance(request, Message):
            return request.SerializeToString(deterministic=True)
        return bytes(request) if self.serialize is None else self.serialize(request)

    async def encoded(self, request: Any) -> bytes:
        return await self.coder.encode_async(self.bytes_of(request), REQUEST, self.method)

    async def decoded(self, payload: bytes) -> Any:
        """A response.

        Raises:
            WeftError: it cannot be decoded.
        """
        if not is_coded(payload):
            raise payload_coded(
                f"the response of {self.method} is not coded, although the request was: its agent has no coder"
                " (WEFT_AGENT_PAYLOAD_KEYS_FILE)",
                self.method,
            )
        message = await self.coder.decode_async(payload, RESPONSE, (self.method,))
        if self.direct:
            await self.coder.delete_stored(payload)
        return message if self.parse is None else self.parse(message)


class CodedCall(aio.Call):
    """The base of the four shapes of calls.

    Large because most of it is the interface of `aio.Call`.

    Args:
        begin: makes the plain call; it may wait until the request is coded.
    """

    def __init__(self, coding: Coding, begin: Callable[[CodedCall], Awaitable[Any]]) -> None:
        self._coding = coding
        self._inner: Any = None
        self._callbacks: list[Callable[[Any], Any]] = []
        # Why the request could not be coded.
        self._failure: WeftError | None = None
        # What was stored for it.
        self.stored = b""
        self._begun: asyncio.Task[None] = asyncio.create_task(self._begin(begin))

    async def _begin(self, begin: Callable[[CodedCall], Awaitable[Any]]) -> None:
        try:
            self._inner = await begin(self)
        except WeftError as error:
            self._failure = error
            self._ended()
            return
        except asyncio.CancelledError:
            self._ended()
            raise
        self._inner.add_done_callback(lambda _: self._ended())

    def _ended(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)
        if self.stored and self._coding.direct:
            self._deleting = asyncio.create_task(self._coding.coder.delete_stored(self.stored))

    async def _call(self) -> Any:
        """The plain call.

        Raises:
            aio.AioRpcError: the request could not be coded.
        """
        if self._inner is None:
            await asyncio.shield(self._begun)
        if self._failure is not None:
            raise _rpc_error(self._failure.status(), aio.Metadata(), aio.Metadata())
        return self._inner

    async def _raise(self, error: aio.AioRpcError) -> NoReturn:
        """Raise the error of a call, decoded."""
        status = status_of_call(error)
        try:
            failure = coded_failure.decoded(self._coding.coder, status, (self._coding.method,))
        except WeftError as undecodable:
            status = undecodable.status()
        else:
            if failure is None:
                raise error from None
            status = failure.status
        raise _rpc_error(status, error.initial_metadata(), error.trailing_metadata()) from None

    async def _decoded(self, payload: bytes) -> Any:
        try:
            return await self._coding.decoded(payload)
        except WeftError as error:
            self.cancel()
            raise _rpc_error(error.status(), aio.Metadata(), aio.Metadata()) from None

    # -- grpc.aio's interface -----------------------------------------------------------------------------------

    def cancelled(self) -> bool:
        return self._begun.cancelled() if self._inner is None else bool(self._inner.cancelled())

    def done(self) -> bool:
        if self._inner is None:
            return self._begun.done() and (self._failure is not None or self._begun.cancelled())
        return bool(self._inner.done())

    def time_remaining(self) -> float | None:
        return None if self._inner is None else self._inner.time_remaining()

    def cancel(self) -> bool:
        return bool(self._begun.cancel() if self._inner is None else self._inner.cancel())

    def add_done_callback(self, callback: Callable[[Any], Any]) -> None:
        if self.done():
            callback(self)
        else:
            self._callbacks.append(callback)

    async def initial_metadata(self) -> Any:
        return await (await self._call()).initial_metadata()

    async def trailing_metadata(self) -> Any:
        return (await self._end())[1]

    async def code(self) -> grpc.StatusCode:
        if self._failure is not None:
            return self._failure.code
        if self._begun.cancelled():
            return grpc.StatusCode.CANCELLED
        code: grpc.StatusCode = await (await self._call()).code()
        return code

    async def details(self) -> str:
        return (await self._end())[0]

    async def _end(self) -> tuple[str, Any]:
        """The message and the trailers of the call that is over, decoded."""
        inner = await self._call()
        code, details, trailers = await inner.code(), await inner.details(), await inner.trailing_metadata()
        if code is grpc.StatusCode.OK:
            return details, trailers
        try:
            await self._raise(aio.AioRpcError(code, aio.Metadata(), trailers, details))
        except aio.AioRpcError as error:
            return error.details() or "", error.trailing_metadata()

    async def wait_for_connection(self) -> None:
        await (await self._call()).wait_for_connection()


class CodedOneResponse(CodedCall):
    """A call with one response."""

    _response: asyncio.Task[Any] | None = None

    def __await__(self) -> Generator[Any, None, Any]:
        if self._response is None:
            # Decoded once, however often it is awaited.
            self._response = asyncio.create_task(self._answer())
        try:
            return (yield from asyncio.shield(self._response).__await__())
        except asyncio.CancelledError:
            self.cancel()
            self._response.cancel()
            raise

    async def _answer(self) -> Any:
        inner = await self._call()
        try:
            payload = await inner
        except aio.AioRpcError as error:
            await self._raise(error)
        return await self._decoded(payload)


class CodedManyResponses(CodedCall):
    """A call with a stream of responses."""

    _iterator: AsyncIterator[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._iterator is None:
            self._iterator = self._responses()
        return self._iterator

    async def _responses(self) -> AsyncIterator[Any]:
        inner = await self._call()
        try:
            async for payload in inner:
                yield await self._decoded(payload)
        except aio.AioRpcError as error:
            await self._raise(error)

    async def read(self) -> Any:
        inner = await self._call()
        try:
            payload = await inner.read()
        except aio.AioRpcError as error:
            await self._raise(error)
        return payload if payload is aio.EOF else await self._decoded(payload)


class CodedManyRequests(CodedCall):
    """A call with a stream of requests."""

    async def write(self, request: Any) -> None:
        inner = await self._call()
        try:
            encoded = await self._coding.encoded(request)
        except WeftError as error:
            self.cancel()
            raise _rpc_error(error.status(), aio.Metadata(), aio.Metadata()) from None
        await inner.write(encoded)

    async def done_writing(self) -> None:
        await (await self._call()).done_writing()


class CodedUnaryUnary(CodedOneResponse, aio.UnaryUnaryCall[Any, Any]):
    """One request, one response."""


class CodedUnaryStream(CodedManyResponses, aio.UnaryStreamCall[Any, Any]):
    """One request, many responses."""


class CodedStreamUnary(CodedManyRequests, CodedOneResponse, aio.StreamUnaryCall[Any, Any]):
    """Many requests, one response."""


class CodedStreamStream(CodedManyRequests, CodedManyResponses, aio.StreamStreamCall[Any, Any]):
    """Many requests, many responses."""


def _rpc_error(status: Any, initial: Any, trailing: Any) -> aio.AioRpcError:
    from weft.rpc.errors import status_code

    pairs = [pair for pair in trailing or () if pair[0] != STATUS_DETAILS_KEY]
    if status.details:
        pairs.append((STATUS_DETAILS_KEY, status.SerializeToString()))
    return aio.AioRpcError(
        status_code(status.code), initial or aio.Metadata(), aio.Metadata(*pairs), status.message
    )
