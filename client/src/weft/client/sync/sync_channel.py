"""A `grpc.aio` channel as a `grpc.Channel`, for generated stubs in code without asyncio.

Each call runs on the background loop; its object here is a `grpc.Call` and a `grpc.Future`, as gRPC's own are.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from weft.client.sync.background_loop import BackgroundLoop

# The parameters that gRPC accepts by position.
_PLACES = ("request", "timeout", "metadata", "credentials", "wait_for_ready", "compression")


class SyncCall(grpc.Call, grpc.Future):  # type: ignore[type-arg]  # not generic when a program runs
    """One call under way or over."""

    def __init__(self, call: Any, loop: BackgroundLoop) -> None:
        self._call = call
        self._loop = loop

    # -- grpc.Call ----------------------------------------------------------------------------------------------------

    def is_active(self) -> bool:
        return not self._call.done()

    def time_remaining(self) -> Any:
        return self._call.time_remaining()

    def cancel(self) -> Any:
        return self._loop.call(self._call.cancel)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call the callback when the call is over. Returns False if it is over already: then nothing is called."""
        if self._call.done():
            return False
        self._loop.call(lambda: self._call.add_done_callback(lambda _: callback()))
        return True

    def initial_metadata(self) -> Any:
        return self._loop.run(self._call.initial_metadata)

    def trailing_metadata(self) -> Any:
        return self._loop.run(self._call.trailing_metadata)

    def code(self) -> Any:
        return self._loop.run(self._call.code)

    def details(self) -> Any:
        return self._loop.run(self._call.details)

    # -- grpc.Future --------------------------------------------------------------------------------------------------

    def cancelled(self) -> bool:
        return bool(self._call.cancelled())

    def running(self) -> bool:
        return not self._call.done()

    def done(self) -> bool:
        return bool(self._call.done())

    def result(self, timeout: float | None = None) -> Any:
        """The response.

        Raises:
            grpc.FutureTimeoutError: the call is not over in time. It goes on.
            grpc.FutureCancelledError: it was cancelled here.
            grpc.RpcError: it failed.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self._loop.run(lambda: self._call)

    def exception(self, timeout: float | None = None) -> Exception | None:
        async def wait() -> Exception | None:
            async with asyncio.timeout(timeout):
                await self._call.code()
            if self._call.cancelled():
                raise grpc.FutureCancelledError
            return await _error_of(self._call)

        try:
            return self._loop.run(wait)
        except TimeoutError:
            raise grpc.FutureTimeoutError from None

    def traceback(self, timeout: float | None = None) -> Any:
        error = self.exception(timeout)
        return None if error is None else error.__traceback__

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        self._loop.call(lambda: self._call.add_done_callback(lambda _: fn(self)))


class SyncResponses(SyncCall):
    """A call that answers with a stream: an iterator of the responses. Ends with the call, and ends it when it is dropped."""

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        response = self._loop.run(self._read)
        if response is grpc.aio.EOF:
            raise StopIteration
        return response

    async def _read(self) -> Any:
        return await _or_failure(self._call, self._call.read())

    def result(self, timeout: float | None = None) -> Any:
        """Wait until the stream is over. Returns nothing."""
        error = self.exception(timeout)
        if error is not None:
            raise error

    def __del__(self) -> None:
        self._loop.soon(self._call.cancel)


async def _or_failure(call: Any, step: Awaitable[Any]) -> Any:
    """Await a step of a call. The cancellation of the call is an error of the call to its waiting threads."""
    try:
        return await step
    except asyncio.CancelledError:
        if call.cancelled():
            raise await _failure(call) from None
        raise


async def _error_of(call: Any) -> grpc.aio.AioRpcError | None:
    """The error of a call that is over."""
    return None if await call.code() is grpc.StatusCode.OK else await _failure(call)


async def _failure(call: Any) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        await call.code(),
        await call.initial_metadata(),
        await call.trailing_metadata(),
        await call.details(),
        await _debug_text(call),
    )


async def _debug_text(call: Any) -> Any:
    text = call.debug_error_string()
    return await text if inspect.isawaitable(text) else text


class _Callable:
    """A method of a stub. gRPC accepts deadline, metadata and more by name or by position."""

    def __init__(self, callable_: Any, loop: BackgroundLoop, *, many_requests: bool) -> None:
        self._callable = callable_
        self._loop = loop
        self._many_requests = many_requests

    @property
    def method(self) -> Any:
        """The method, for `SyncTasks.submit`."""
        return self._callable.method

    def _begin(self, places: tuple[Any, ...], names: dict[str, Any]) -> Any:
        """Start the call; on the loop."""
        given = dict(zip(_PLACES, places, strict=False)) | names
        request = given.pop("request_iterator") if "request_iterator" in given else given.pop("request")
        return self._callable(self._loop.feed(request) if self._many_requests else request, **given)


class _OneResponse(_Callable):
    def __call__(self, *places: Any, **names: Any) -> Any:
        return self.with_call(*places, **names)[0]

    def with_call(self, *places: Any, **names: Any) -> Any:
        async def answered() -> tuple[Any, Any]:
            call = self._begin(places, names)
            return await _or_failure(call, call), call

        response, call = self._loop.run(answered)
        return response, SyncCall(call, self._loop)

    def future(self, *places: Any, **names: Any) -> Any:
        return SyncCall(self._loop.call(lambda: self._begin(places, names)), self._loop)


class _ManyResponses(_Callable):
    def __call__(self, *places: Any, **names: Any) -> Any:
        return SyncResponses(self._loop.call(lambda: self._begin(places, names)), self._loop)


class SyncUnaryUnary(_OneResponse, grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    """One request, one response."""


class SyncUnaryStream(_ManyResponses, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    """One request, many responses."""


class SyncStreamUnary(_OneResponse, grpc.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    """Many requests, one response."""


class SyncStreamStream(_ManyResponses, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    """Many requests, many responses."""


class SyncChannel(grpc.Channel):
    """The channel that `SyncMesh.channel()` gives. Closing it closes nothing: the mesh has the connection."""

    def __init__(self, channel: grpc.aio.Channel, loop: BackgroundLoop) -> None:
        self._channel: Any = channel
        self._loop = loop
        self._watches: dict[Any, concurrent.futures.Future[None]] = {}

    def unary_unary(self, *method: Any, **how: Any) -> Any:
        made = self._loop.call(lambda: self._channel.unary_unary(*method, **how))
        return SyncUnaryUnary(made, self._loop, many_requests=False)

    def unary_stream(self, *method: Any, **how: Any) -> Any:
        made = self._loop.call(lambda: self._channel.unary_stream(*method, **how))
        return SyncUnaryStream(made, self._loop, many_requests=False)

    def stream_unary(self, *method: Any, **how: Any) -> Any:
        made = self._loop.call(lambda: self._channel.stream_unary(*method, **how))
        return SyncStreamUnary(made, self._loop, many_requests=True)

    def stream_stream(self, *method: Any, **how: Any) -> Any:
        made = self._loop.call(lambda: self._channel.stream_stream(*method, **how))
        return SyncStreamStream(made, self._loop, many_requests=True)

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False
    ) -> None:
        """Call the callback with the connection's state, now and after each change, until `unsubscribe`."""
        self._watches[callback] = self._loop.start(lambda: self._watch(callback, try_to_connect))

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        watch = self._watches.pop(callback, None)
        if watch is not None:
            watch.cancel()

    async def _watch(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool
    ) -> None:
        state = None
        while state is not grpc.ChannelConnectivity.SHUTDOWN:
            state = self._channel.get_state(try_to_connect)
            callback(state)
            await self._channel.wait_for_state_change(state)

    def close(self) -> None:
        for callback in tuple(self._watches):
            self.unsubscribe(callback)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
