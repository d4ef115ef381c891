"""A `grpc.aio.Channel` whose calls go to the endpoints that a balancer chooses. Stubs and relays use it as any channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable
from types import TracebackType
from typing import Any, Self

import grpc
from grpc import aio

from weft.rpc.balancing import balanced_shapes
from weft.rpc.balancing.balanced_calls import BalancedCall
from weft.rpc.balancing.balancer import Balancer
from weft.rpc.balancing.connection import Callee
from weft.rpc.calls import call_context, client_spans
from weft.rpc.calls.request_streams import StreamStreamCallable, StreamUnaryCallable

# How often `wait_for_state_change` looks at the channel's state.
LOOK_S = 0.02

Requests = AsyncIterable[Any] | Iterable[Any] | None
Serializer = Callable[[Any], bytes] | None
Deserializer = Callable[[bytes], Any] | None


class BalancedCallable:
    """A callable of one method, as a stub holds it."""

    # The class of its calls.
    kind: type[BalancedCall]

    def __init__(self, balancer: Balancer, callee: Callee, *, for_others: bool) -> None:
        self._balancer = balancer
        self._callee = callee
        self._for_others = for_others

    def _call(
        self,
        request: Any,
        timeout: float | None,
        metadata: Any,
        credentials: grpc.CallCredentials | None,
        wait_for_ready: bool | None,
        compression: grpc.Compression | None,
    ) -> Any:
        self._balancer.home.check()
        # A call that a handler makes inherits the call context.
        timeout = call_context.timeout_s(timeout)
        # Of a call that is passed on, the one who passes it on makes the span.
        span = None if self._for_others else client_spans.begin(self._callee.method, metadata)
        given = (
            call_context.metadata(metadata)
            if span is None
            else call_context.metadata(span.metadata, span.headers)
        )
        how = {
            # A tuple, since each attempt reads the metadata.
            "metadata": given if given is None or isinstance(given, tuple | aio.Metadata) else tuple(given),
            "credentials": credentials,
            "wait_for_ready": wait_for_ready,
            "compression": compression,
        }
        call = self.kind(self._balancer, self._callee, request, timeout, how, for_others=self._for_others)
        return call if span is None else span.watch(call)


class OneRequestCallable(BalancedCallable):
    """A method with a single request."""

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._call(request, timeout, metadata, credentials, wait_for_ready, compression)


class ManyRequestsCallable(BalancedCallable):
    """A method with a stream of requests."""

    def __call__(
        self,
        request_iterator: Requests = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        return self._call(request_iterator, timeout, metadata, credentials, wait_for_ready, compression)


class BalancedUnaryUnary(OneRequestCallable, aio.UnaryUnaryMultiCallable[Any, Any]):
    kind = balanced_shapes.UnaryUnaryCall


class BalancedUnaryStream(OneRequestCallable, aio.UnaryStreamMultiCallable[Any, Any]):
    kind = balanced_shapes.UnaryStreamCall


class BalancedStreamUnary(ManyRequestsCallable, StreamUnaryCallable):
    kind = balanced_shapes.StreamUnaryCall


class BalancedStreamStream(ManyRequestsCallable, StreamStreamCallable):
    kind = balanced_shapes.StreamStreamCall


class BalancedChannel(aio.Channel):
    """A channel whose calls go to the endpoints that the balancer chooses.

    `close` does nothing: the balancer owns the connections, and other channels may use the same balancer.

    Args:
        balancer: chooses the endpoints.
        for_others: calls are made for remote callers, whose own timers end them at the same deadline. A call that waits
            in vain then ends a little earlier, so that its caller learns what the call waited for.
    """

    def __init__(self, balancer: Balancer, *, for_others: bool = False) -> None:
        self._balancer = balancer
        self._for_others = for_others

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> Any:
        return self.make(
            BalancedUnaryUnary, _callee("unary_unary", method, request_serializer, response_deserializer)
        )

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> Any:
        return self.make(
            BalancedUnaryStream, _callee("unary_stream", method, request_serializer, response_deserializer)
        )

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> Any:
        return self.make(
            BalancedStreamUnary, _callee("stream_unary", method, request_serializer, response_deserializer)
        )

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> Any:
        return self.make(
            BalancedStreamStream, _callee("stream_stream", method, request_serializer, response_deserializer)
        )

    def make(self, kind: type[BalancedCallable], callee: Callee) -> Any:
        """Make a callable: the four methods above ask for it."""
        return kind(self._balancer, callee, for_others=self._for_others)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: ARG002
        return self._balancer.connectivity()

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        self._balancer.home.check()
        # The state is that of many plain channels. A watch of a plain channel would outlive its close, so this polls.
        while self.get_state() is last_observed_state:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)

    async def channel_ready(self) -> None:
        while (state := self.get_state()) is not grpc.ChannelConnectivity.READY:
            await self.wait_for_state_change(state)

    async def close(self, grace: float | None = None) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _callee(shape: str, path: str, serializer: Serializer, deserializer: Deserializer) -> Callee:
    return Callee(shape, path.removeprefix("/"), serializer, deserializer)
