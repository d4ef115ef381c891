"""The channel that a mesh with coded payloads gives: what a stub sends is coded, what it gets is decoded. Calls of weft's own services,
health and reflection are as they are.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator
from types import TracebackType
from typing import Any, Self

import grpc
from grpc import aio

from weft.client.coded_call import (
    CodedCall,
    CodedStreamStream,
    CodedStreamUnary,
    CodedUnaryStream,
    CodedUnaryUnary,
    Coding,
)
from weft.client.methods import RecordingChannel
from weft.rpc.calls.metadata import CODED_KEY
from weft.rpc.calls.request_streams import StreamStreamCallable, StreamUnaryCallable
from weft.rpc.contracts.names import is_reserved
from weft.rpc.payloads.payload_coder import PayloadCoder

_CODED = (CODED_KEY, "1")


class _Callable:
    """A callable of one method, as a stub holds it."""

    kind: type[CodedCall]

    def __init__(self, plain: Any, coding: Coding, method: Any) -> None:
        self._plain = plain
        self._coding = coding
        # So that it can be submitted too.
        self.method = method


class _OneRequest(_Callable):
    def __call__(self, request: Any, *, timeout: float | None = None, **how: Any) -> Any:
        began_s = time.monotonic()

        async def begin(call: CodedCall) -> Any:
            call.stored = encoded = await self._coding.encoded(request)
            left_s = None if timeout is None else max(0.0, timeout + began_s - time.monotonic())
            return self._plain(encoded, timeout=left_s, **how)

        return self.kind(self._coding, begin)


class _ManyRequests(_Callable):
    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **how: Any,
    ) -> Any:
        pairs = (*(metadata or ()), _CODED)
        requests = None if request_iterator is None else _encoded(self._coding, request_iterator)

        async def begin(_: CodedCall) -> Any:
            return self._plain(requests, timeout, pairs, *more, **how)

        return self.kind(self._coding, begin)


async def _encoded(coding: Coding, requests: Any) -> AsyncIterator[bytes]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield await coding.encoded(request)
    else:
        for request in requests:
            yield await coding.encoded(request)


class CodedUnaryUnaryCallable(_OneRequest, aio.UnaryUnaryMultiCallable[Any, Any]):
    kind = CodedUnaryUnary


class CodedUnaryStreamCallable(_OneRequest, aio.UnaryStreamMultiCallable[Any, Any]):
    kind = CodedUnaryStream


class CodedStreamUnaryCallable(_ManyRequests, StreamUnaryCallable):
    kind = CodedStreamUnary


class CodedStreamStreamCallable(_ManyRequests, StreamStreamCallable):
    kind = CodedStreamStream


class CodedChannel(aio.Channel):
    """Codes what goes over another channel. `close` does nothing: the mesh owns the connection.

    Args:
        direct: its calls go to agents: what they put into the store is deleted when they have ended.
    """

    def __init__(self, plain: aio.Channel, coder: PayloadCoder, *, direct: bool) -> None:
        self._plain = plain
        self._coder = coder
        self._direct = direct

    def unary_unary(self, method: str, *codec: Any, **how: Any) -> Any:
        return self._made("unary_unary", CodedUnaryUnaryCallable, method, *codec, **how)

    def unary_stream(self, method: str, *codec: Any, **how: Any) -> Any:
        return self._made("unary_stream", CodedUnaryStreamCallable, method, *codec, **how)

    def stream_unary(self, method: str, *codec: Any, **how: Any) -> Any:
        return self._made("stream_unary", CodedStreamUnaryCallable, method, *codec, **how)

    def stream_stream(self, method: str, *codec: Any, **how: Any) -> Any:
        return self._made("stream_stream", CodedStreamStreamCallable, method, *codec, **how)

    def _made(
        self,
        shape: str,
        kind: type[_Callable],
        path: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        **how: Any,
    ) -> Any:
        name = path.removeprefix("/")
        make = getattr(self._plain, shape)
        if is_reserved(name.partition("/")[0]):
            return make(path, request_serializer, response_deserializer, **how)
        named = getattr(RecordingChannel(), shape)(path, request_serializer, response_deserializer)
        coding = Coding(self._coder, name, request_serializer, response_deserializer, self._direct)
        return kind(make(path, None, None, **how), coding, named)

    async def close(self, grace: float | None = None) -> None:
        pass

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._plain.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._plain.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._plain.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
