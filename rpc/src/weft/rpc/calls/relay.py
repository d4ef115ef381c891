"""The relay: passes calls on byte for byte, so that neither end notices it.

    caller ─► server here ─► relay ─► channel ─► callee
           ◄─ initial metadata only where the callee sent some ◄─
           ◄─ responses, status, message, details, trailers    ◄─
           ─► cancellation, deadline, half-close               ─►

The channel may be a plain one or a balanced one. If the shape of a method is not known, its calls pass as stream-stream: on the
wire all shapes look like that. If it is known, the unary forms cost half. The relay holds at most one message in each
direction; a side that does not read stops the other side.

A caller can still notice this. Compression is each hop's own. The initial metadata of a unary method comes with the
response, even if the callee sent it earlier: grpc.aio's way to read it earlier costs a quarter of a call, and sometimes loses
it when the call fails. The initial metadata of a stream that ends without any response may be lost: grpc.aio drops it
when it sees the end first, also for its own callers.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import grpc
from grpc import aio

from weft.rpc import errors, refusals
from weft.rpc.calls import metadata
from weft.rpc.calls.at_once import at_once
from weft.rpc.network.gone import to_caller
from weft.rpc.process.logs import get_logger
from weft.rpc.security.token_metadata import shows_token
from weft.v1 import fleet_pb2

log = get_logger(__name__)

T = TypeVar("T")
Context = aio.ServicerContext[bytes, bytes]
# Makes the outgoing metadata of a call: the application's own entries, and those that this hop adds.
Outgoing = Callable[[Context], metadata.Pairs]
# Takes the method, the code and the duration in seconds of a call that was passed on.
Observe = Callable[[str, int, float], None]

# A caller that is gone looks like a half-close, until its cancellation arrives some 0.1 ms later. If the half-close were passed
# on, it would make a truncated stream look complete. So the relay waits for the cancellation for so long.
GONE_S = 0.002
# Empty initial metadata is passed on when nothing follows it within this time: the caller may wait for it.
BARE_HEADERS_S = 0.01
# grpc.aio's own status of a call whose callee ended it while a request was written. The callee's status comes a little later:
# how often and how many times to look for it.
_WRITE_FAILED = (grpc.StatusCode.INTERNAL, "Internal error from Core")
_LOOK_S = 0.001
_LOOKS = 1000
# A callee that keeps the time itself gets so long after the deadline to notice it. With a cancellation at once, it would see
# that instead of the deadline.
_OVERTIME_S = 0.25
# With less time left than this, a deadline counts as passed: the clocks of the two ends differ a little.
_PASSED_S = 0.05
_MAX_TIMEOUT_MS = 99_999_999
_TRACE_KEYS = frozenset({"traceparent", "tracestate", "baggage"})
# The load is sent on by its other key (`_trailers`).
_HOP_TRAILERS = frozenset({metadata.ORCA_KEY, *metadata.FATAL_KEYS})

_SHAPES = {
    fleet_pb2.METHOD_KIND_UNARY: "unary_unary",
    fleet_pb2.METHOD_KIND_SERVER_STREAMING: "unary_stream",
    fleet_pb2.METHOD_KIND_CLIENT_STREAMING: "stream_unary",
    fleet_pb2.METHOD_KIND_BIDI_STREAMING: "stream_stream",
}


def passed_on(
    context: Context, also: Callable[[str], bool] = lambda _key: False, *, tokens: bool = False
) -> metadata.Pairs:
    """The caller's metadata without the keys of one hop. The trace context is kept, and the keys that `also` accepts.

    Args:
        tokens: also the caller's token, because the callee is another door of the mesh.
    """
    pairs: Iterable[tuple[str, str | bytes]] = context.invocation_metadata() or ()
    return tuple(
        [
            (key, value)
            for key, value in pairs
            if (tokens if shows_token(key, value) else metadata.belongs_to_caller(key))
            or key in _TRACE_KEYS
            or also(key)
        ]
    )


def handler(
    channel: aio.Channel,
    path: str,
    kind: fleet_pb2.MethodKind = fleet_pb2.METHOD_KIND_UNSPECIFIED,
    outgoing: Outgoing = passed_on,
    *,
    callee_keeps_time: bool = False,
    observe: Observe | None = None,
) -> grpc.RpcMethodHandler[Any, Any]:
    """A handler that serves a method by passing its calls on.

    Args:
        channel: the channel to the callee.
        path: "/package.Service/Method", as the callee has it.
        kind: the method's shape. Unspecified: not known.
        outgoing: makes the outgoing metadata. If it raises a WeftError, the caller gets that.
        callee_keeps_time: the callee gets the deadline, and time to notice that it passed, before its call is cancelled.
        observe: told of each call that has ended.
    """
    shape = _SHAPES.get(kind, "stream_stream")
    behaviour = _Behaviour(channel, shape, path, outgoing, kind in _SHAPES, callee_keeps_time)
    behaviour.observe = observe
    make: Any = getattr(grpc, f"{shape}_rpc_method_handler")
    made: grpc.RpcMethodHandler[Any, Any] = make(getattr(behaviour, shape))
    return made


class _Behaviour:
    """Serves one method, in one of four shapes."""

    observe: Observe | None = None

    def __init__(
        self,
        channel: aio.Channel,
        shape: str,
        path: str,
        outgoing: Outgoing,
        shape_known: bool,
        callee_keeps_time: bool,
    ) -> None:
        self._call = getattr(channel, shape)(path)
        self._path = path
        self._outgoing = outgoing
        self._shape_known = shape_known
        self._callee_keeps_time = callee_keeps_time

    async def unary_unary(self, request: bytes, context: Context) -> Any:
        return await self._pass_on(request, context, _response)

    async def stream_unary(self, requests: AsyncIterator[bytes], context: Context) -> Any:
        return await self._pass_on(self._readable(requests), context, _response_after_headers)

    async def unary_stream(self, request: bytes, context: Context) -> None:
        await self._pass_on(request, context, _responses)

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        await self._pass_on(self._readable(requests), context, _responses)

    def _readable(self, requests: AsyncIterator[bytes]) -> _Requests:
        return _Requests(requests, shape_known=self._shape_known)

    async def _pass_on(
        self, request: Any, context: Context, answer: Callable[[Any, Context], Coroutine[Any, Any, T]]
    ) -> T:
        call: Any = None
        began_s, code = time.perf_counter(), grpc.StatusCode.OK
        try:
            pairs = self._outgoing(context)
            left_s: float | None = context.time_remaining()
            if self._callee_keeps_time and left_s is not None:
                # The deadline is sent, but no timer runs at this end: it would cancel the call just before the callee's timer fires.
                pairs, left_s = (*pairs, ("grpc-timeout", _timeout(left_s))), None
            call = self._call(request, timeout=left_s, metadata=pairs)
            if self._callee_keeps_time:
                return await _shielded(answer(call, context), context)
            return await answer(call, context)
        except aio.AioRpcError as error:
            trailers = _trailers(error.trailing_metadata())
            code, details = error.code(), error.details() or ""
            if code is grpc.StatusCode.CANCELLED and self._deadline_passes(context):
                # A server may reset the stream of a call whose deadline passes. The caller's own timer is about to fire, too.
                code, details = grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"
            await to_caller(context.abort(code, details, trailers))
            raise
        except errors.WeftError as error:
            code = errors.status_code(error.status().code)
            await refuse(error, context)
            raise
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED
            if isinstance(request, _Requests) and request.refused is not None:
                # grpc.aio cancels a call whose requests cannot be read.
                await refuse(request.refused, context)
            raise
        except aio.BaseError:
            # The caller's call has ended.
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("relay.failed", rpc=self._path)
            await refuse(
                refusals.internal("the call could not be passed on; the log here has the rest"), context
            )
            raise
        finally:
            # The caller may be gone, and its callee must not work on.
            if call is not None and not call.done():
                self._cancel(call, context)
            if call is not None and self.observe is not None:
                self.observe(self._path[1:], code.value[0], time.perf_counter() - began_s)

    def _cancel(self, call: Any, context: Context) -> None:
        if self._deadline_passes(context):
            asyncio.get_running_loop().call_later(_PASSED_S + _OVERTIME_S, call.cancel)
        else:
            call.cancel()

    def _deadline_passes(self, context: Context) -> bool:
        return self._callee_keeps_time and _passes(context)


class _Requests:
    """The requests of a stream, until the caller's half-close.

    Attributes:
        refused: why no more are passed on: one of them was refused where it is read.
    """

    refused: errors.WeftError | None = None

    def __init__(self, requests: AsyncIterator[bytes], *, shape_known: bool) -> None:
        self._requests = requests
        self._shape_known = shape_known

    async def __aiter__(self) -> AsyncIterator[bytes]:
        count = 0
        try:
            async for request in self._requests:
                count += 1
                yield request
        except errors.WeftError as error:
            self.refused = error
            raise
        if self._shape_known or count != 1:
            # No wait for the only request of a call of unknown shape: most likely the call is unary.
            await asyncio.sleep(GONE_S)


def _passes(context: Context) -> bool:
    """Whether a call's deadline has passed or is about to."""
    left_s = context.time_remaining()
    return left_s is not None and left_s < _PASSED_S


async def _shielded(answer: Coroutine[Any, Any, T], context: Context) -> T:
    """Await an answer. A cancellation after the deadline does not reach the callee's call: `_cancel` ends that call later."""
    task = asyncio.get_running_loop().create_task(answer)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not _passes(context):
            task.cancel()
        # The caller is gone, so the task's exception is retrieved here; otherwise asyncio logs it.
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        raise


def _timeout(left_s: float) -> str:
    """A timeout in the form of the `grpc-timeout` header."""
    # Rounded up: the callee's deadline is not before the caller's.
    left_ms = max(1, math.ceil(left_s * 1000))
    return f"{left_ms}m" if left_ms <= _MAX_TIMEOUT_MS else f"{min(_MAX_TIMEOUT_MS, left_ms // 1000)}S"


async def _response(call: Any, context: Context) -> bytes:
    try:
        response: bytes = await call
    except aio.AioRpcError as error:
        await _send_headers(error.initial_metadata(), context)
        raise
    await _send_headers(await call.initial_metadata(), context)
    context.set_trailing_metadata(_trailers(await call.trailing_metadata()))
    return response


async def _response_after_headers(call: Any, context: Context) -> Any:
    end = _End(call)
    try:
        response = await _after_headers(call, context, lambda: call)
    except aio.AioRpcError as error:
        raise await end.of(error) from None
    context.set_trailing_metadata(_trailers((await end.of(None)).trailing_metadata()))
    return response


async def _responses(call: Any, context: Context) -> None:
    end = _End(call)
    # Not by `read`: once the call has ended, it returns no more of the responses that have arrived.
    responses = aiter(call)
    failed = None
    try:
        response = await _after_headers(call, context, lambda: anext(responses, None))
        while response is not None:
            await to_caller(context.write(response))
            response = await anext(responses, None)
    except aio.AioRpcError as error:
        failed = error
    ended = await end.of(failed)
    if ended.code() is not grpc.StatusCode.OK:
        raise ended
    context.set_trailing_metadata(_trailers(ended.trailing_metadata()))


class _End:
    """The status with which the callee ended a call.

    If the callee ends the call while a request is written, grpc.aio also sets a status of its own, before or after the callee's.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._first: aio.AioRpcError | None = None
        call.add_done_callback(self._note)

    def _note(self, call: Any) -> None:
        if self._first is None:
            self._first = at_once(_end_now(call))

    async def of(self, error: aio.AioRpcError | None) -> aio.AioRpcError:
        """The callee's status, which may be OK.

        Args:
            error: the status that grpc.aio reported. None: the call succeeded.
        """
        ended = self._first or error or await _end_now(self._call)
        for _ in range(_LOOKS):
            if (ended.code(), ended.details()) != _WRITE_FAILED:
                break
            await asyncio.sleep(_LOOK_S)
            ended = await _end_now(self._call)
        return ended


async def _end_now(call: Any) -> aio.AioRpcError:
    code, trailers, details = await call.code(), await call.trailing_metadata(), await call.details()
    return aio.AioRpcError(code, None, trailers, details)


async def _after_headers(call: Any, context: Context, following: Callable[[], Awaitable[Any]]) -> Any:
    """Pass the initial metadata on, then return the result of `following`. That is called only then: a call may end before."""
    # A balanced call holds empty initial metadata back for a while, but the first response proves as well that the call was taken.
    headers = await getattr(call, "first_headers", call.initial_metadata)()
    if headers:
        await _send_headers(headers, context)
        return await following()
    # There is no initial metadata, or it is empty; grpc.aio does not say which. If a response follows soon, it does not matter.
    # Otherwise the callee has sent empty initial metadata, and may wait for the caller.
    waiting = asyncio.ensure_future(following())
    try:
        done, _ = await asyncio.wait((waiting,), timeout=BARE_HEADERS_S)
        # Asked again: if the call ended first, the first answer had no entries.
        headers = await call.initial_metadata()
        if headers or not done:
            await to_caller(context.send_initial_metadata(_trailers(headers)))
        return await waiting
    finally:
        # The exception is retrieved, so that asyncio does not log it.
        waiting.add_done_callback(lambda ended: ended.cancelled() or ended.exception())


async def _send_headers(headers: Any, context: Context) -> None:
    if headers:
        await to_caller(context.send_initial_metadata(_trailers(headers)))


async def refuse(error: errors.WeftError, context: Context) -> None:
    """End the call with an error of weft's own. Always raises."""
    status = error.status()
    details = ((errors.STATUS_DETAILS_KEY, status.SerializeToString()),)
    await to_caller(context.abort(errors.status_code(status.code), status.message, details))


def _trailers(trailers: Any) -> metadata.Pairs:
    """The callee's trailers for the caller. The callee's load is told twice: gRPC removes the key that stock clients read."""
    kept = tuple((key, value) for key, value in trailers or () if key not in _HOP_TRAILERS)
    return kept + tuple((metadata.ORCA_KEY, value) for key, value in kept if key == metadata.LOAD_KEY)
