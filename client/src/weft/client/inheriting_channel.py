"""The channel that `Mesh.channel()` gives: its calls inherit deadline, trace and tree of the call whose handler makes them."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import grpc
from grpc import aio

from weft.client.methods import DirectOnly, Method, checked_name
from weft.rpc.calls import call_context, client_spans
from weft.rpc.calls.call_context import CallSteps
from weft.rpc.calls.metadata import STEP_KEY
from weft.rpc.calls.request_streams import StreamStreamCallable, StreamUnaryCallable
from weft.rpc.contracts.names import is_reserved
from weft.rpc.process.home_loop import HomeLoop


class _Callable:
    """A method of a stub. If it has one request, it can be submitted too."""

    def __init__(self, plain: Any, home: HomeLoop, method: Method[Any, Any] | DirectOnly) -> None:
        self._plain = plain
        self._home = home
        self.method = method
        self._name = method.name


class _OneRequest(_Callable):
    """A method with one request. `repeated`: a remembered call of it is made again until its task answers."""

    repeated = False

    def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: Any = None, **how: Any
    ) -> Any:
        self._home.check()
        asked = metadata is not None and any(key == STEP_KEY for key, _ in metadata)
        if (steps := call_context.steps(asked=asked)) is not None and not is_reserved(self._name):
            return steps.follow(self._as_step(steps, request, timeout, metadata, how))
        return self._call(request, timeout, metadata, how)

    def _as_step(
        self, steps: CallSteps, request: Any, timeout_s: float | None, metadata: Any, how: dict[str, Any]
    ) -> Any:
        """A call of a handler that has steps, and perhaps one of them itself."""
        named = steps.name_of(self._name, metadata)
        metadata = (*(metadata or ()), *named) if named else metadata
        name = next((value for key, value in metadata or () if key == STEP_KEY), None)
        if not self.repeated or name is None:
            return self._call(request, timeout_s, metadata, how)
        from weft.client.remembered_call import RememberedCall

        return RememberedCall(
            lambda left_s: self._call(request, left_s, metadata, how),
            call_context.timeout_s(timeout_s),
            lambda ended: steps.wait_call(str(name), ended),
        )

    def _call(self, request: Any, timeout: float | None, metadata: Any, how: dict[str, Any]) -> Any:
        timeout, span = call_context.timeout_s(timeout), client_spans.begin(self._name, metadata)
        if span is None:
            return self._plain(request, timeout=timeout, metadata=call_context.metadata(metadata), **how)
        metadata = call_context.metadata(span.metadata, span.headers)
        return span.watch(self._plain(request, timeout=timeout, metadata=metadata, **how))


class _ManyRequests(_Callable):
    """A method with a stream of requests. gRPC takes deadline, metadata and more as positional arguments here."""

    def __call__(
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        *more: Any,
        **how: Any,
    ) -> Any:
        self._home.check()
        timeout, span = call_context.timeout_s(timeout), client_spans.begin(self._name, metadata)
        if span is None:
            return self._plain(request_iterator, timeout, call_context.metadata(metadata), *more, **how)
        metadata = call_context.metadata(span.metadata, span.headers)
        return span.watch(self._plain(request_iterator, timeout, metadata, *more, **how))


class InheritingUnaryUnary(_OneRequest, aio.UnaryUnaryMultiCallable[Any, Any]):
    """One request, one response."""

    repeated = True


class InheritingUnaryStream(_OneRequest, aio.UnaryStreamMultiCallable[Any, Any]):
    """One request, many responses."""


class InheritingStreamUnary(_ManyRequests, StreamUnaryCallable):
    """Many requests, one response."""


class InheritingStreamStream(_ManyRequests, StreamStreamCallable):
    """Many requests, many responses."""


class InheritingChannel(aio.Channel):
    """Passes every call on; outside a handler it changes nothing. `close` does nothing: the mesh owns the connection."""

    def __init__(self, plain: aio.Channel, home: HomeLoop) -> None:
        self._plain = plain
        self._home = home

    def unary_unary(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **how: Any
    ) -> Any:
        plain = self._plain.unary_unary(method, request_serializer, response_deserializer, **how)
        named = Method.on_channel(method, request_serializer, response_deserializer)
        return InheritingUnaryUnary(plain, self._home, named)

    def unary_stream(
        self, method: str, request_serializer: Any = None, response_deserializer: Any = None, **how: Any
    ) -> Any:
        plain = self._plain.unary_stream(method, request_serializer, response_deserializer, **how)
        named = Method.on_channel(method, request_serializer, response_deserializer, streaming=True)
        return InheritingUnaryStream(plain, self._home, named)

    def stream_unary(self, method: str, *more: Any, **how: Any) -> Any:
        plain = self._plain.stream_unary(method, *more, **how)
        return InheritingStreamUnary(plain, self._home, DirectOnly(checked_name(method)))

    def stream_stream(self, method: str, *more: Any, **how: Any) -> Any:
        plain = self._plain.stream_stream(method, *more, **how)
        return InheritingStreamStream(plain, self._home, DirectOnly(checked_name(method)))

    async def close(self, grace: float | None = None) -> None:
        pass

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._plain.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        self._home.check()
        await self._plain.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        self._home.check()
        await self._plain.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
