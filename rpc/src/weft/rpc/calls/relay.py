"""Passing calls on as they are: bytes in, bytes out, and neither end can tell.

    caller ─► server here ─► relay ─► channel ─► callee
           ◄─ initial metadata only where the callee sent some ◄─
           ◄─ responses, status, message, details, trailers    ◄─
           ─► cancellation, deadline, half-close               ─►

The channel may be a plain one or one that balances. A call whose shape is not known passes as stream-stream, which all
shapes are on the wire; where it is known, the unary forms cost half. At most one message each way is held here; a side
that does not read stops the other.

What a caller can still notice: compression is each hop's own. The initial metadata of a method with one request and one
response comes with the response, however early the callee sent it: grpc.aio's way to see it sooner costs a quarter of a
call, and now and then loses it when the call fails. That of a stream that ends without a single response may be lost:
grpc.aio forgets it when it sees the end first, as for its own callers.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import grpc
from grpc import aio

from weft.rpc import errors, refusals
from weft.rpc.calls import metadata
from weft.rpc.calls.at_once import at_once
from weft.rpc.network.gone import to_caller
from weft.rpc.process.logs import get_logger
from weft.v1 import fleet_pb2

log = get_logger(__name__)

T = TypeVar("T")
Context = aio.ServicerContext[bytes, bytes]
# What goes out for a call's metadata: the application's own entries, and what a hop adds.
Outgoing = Callable[[Context], metadata.Pairs]

# A caller that is gone looks like one that has half-closed, until its cancellation is here, some 0.1 ms later. Passed on
# as a half-close it would make a whole stream of half of one.
GONE_S = 0.002
# Initial metadata without entries is passed on when nothing follows it for so long: somebody may wait for it.
BARE_HEADERS_S = 0.01
# grpc.aio's own end of a call whose callee ended it while a request was being written; how often to look for the other.
_WRITE_FAILED = (grpc.StatusCode.INTERNAL, "Internal error from Core")
_LOOK_S = 0.001
_LOOKS = 1000
# A callee that keeps the time itself gets so long, once the deadline has passed, to see that: cancelled at once, it would
# see that. What is left of a deadline that has passed, as far as clocks agree.
_OVERTIME_S = 0.25
_PASSED_S = 0.05
_MAX_TIMEOUT_MS = 99_999_999
_TRACE_KEYS = frozenset({"traceparent", "tracestate"})
# The callee's load is for whoever balances, which is this hop.
_HOP_TRAILERS = frozenset({metadata.ORCA_KEY, *metadata.FATAL_KEYS})

_SHAPES = {
    fleet_pb2.METHOD_KIND_UNARY: "unary_unary",
    fleet_pb2.METHOD_KIND_SERVER_STREAMING: "unary_stream",
    fleet_pb2.METHOD_KIND_CLIENT_STREAMING: "stream_unary",
    fleet_pb2.METHOD_KIND_BIDI_STREAMING: "stream_stream",
}


def passed_on(context: Context, also: Callable[[str], bool] = lambda _key: False) -> metadata.Pairs:
    """The caller's metadata without what belongs to one hop; the trace goes on, and `also` says which keys do."""
    pairs: Iterable[tuple[str, str | bytes]] = context.invocation_metadata() or ()
    return tuple(
        [
            (key, value)
            for key, value in pairs
            if metadata.belongs_to_caller(key) or key in _TRACE_KEYS or also(key)
        ]
    )


def handler(
    channel: aio.Channel,
    path: str,
    kind: fleet_pb2.MethodKind = fleet_pb2.METHOD_KIND_UNSPECIFIED,
    outgoing: Outgoing = passed_on,
    *,
    callee_keeps_time: bool = False,
) -> grpc.RpcMethodHandler[Any, Any]:
    """What serves a method by passing its calls on.

    Args:
        channel: where they go.
        path: "/package.Service/Method", as it is called there.
        kind: the shape; unspecified: not known.
        outgoing: makes the metadata that goes along; a WeftError that it raises is the caller's answer.
        callee_keeps_time: it is told the deadline, and sees it pass, before anybody cancels its call for that.
    """
    shape = _SHAPES.get(kind, "stream_stream")
    behaviour = _Behaviour(channel, shape, path, outgoing, kind in _SHAPES, callee_keeps_time)
    make: Any = getattr(grpc, f"{shape}_rpc_method_handler")
    made: grpc.RpcMethodHandler[Any, Any] = make(getattr(behaviour, shape))
    return made


class _Behaviour:
    """Serves one method, in one of four shapes."""

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
        return await self._pass_on(self._until_half_close(requests), context, _response_after_headers)

    async def unary_stream(self, request: bytes, context: Context) -> None:
        await self._pass_on(request, context, _responses)

    async def stream_stream(self, requests: AsyncIterator[bytes], context: Context) -> None:
        await self._pass_on(self._until_half_close(requests), context, _responses)

    async def _until_half_close(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        count = 0
        async for request in requests:
            count += 1
            yield request
        if self._shape_known or count != 1:
            # Not where it may well be the one request of a unary call.
            await asyncio.sleep(GONE_S)

    async def _pass_on(
        self, request: Any, context: Context, answer: Callable[[Any, Context], Coroutine[Any, Any, T]]
    ) -> T:
        call: Any = None
        try:
            pairs = self._outgoing(context)
            left_s: float | None = context.time_remaining()
            if self._callee_keeps_time and left_s is not None:
                # Without a timer of this end, which would cancel the call when the callee's is about to fire.
                pairs, left_s = (*pairs, ("grpc-timeout", _timeout(left_s))), None
            call = self._call(request, timeout=left_s, metadata=pairs)
            if self._callee_keeps_time:
                return await _shielded(answer(call, context), context)
            return await answer(call, context)
        except aio.AioRpcError as error:
            trailers = _trailers(error.trailing_metadata())
            code, details = error.code(), error.details() or ""
            if code is grpc.StatusCode.CANCELLED and self._deadline_passes(context):
                # A server may reset the stream of a call whose deadline passes. Its caller's own timer is about to fire.
                code, details = grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"
            await to_caller(context.abort(code, details, trailers))
            raise
        except errors.WeftError as error:
            await refuse(error, context)
            raise
        except aio.BaseError:
            # The call here has ended.
            raise
        except Exception:
            log.exception("relay.failed", rpc=self._path)
            await refuse(
                refusals.internal("the call could not be passed on; the log here has the rest"), context
            )
            raise
        finally:
            # Whoever asked may have gone; a call that has ended does not mind.
            if call is not None and not call.done():
                self._cancel(call, context)

    def _cancel(self, call: Any, context: Context) -> None:
        if self._deadline_passes(context):
            asyncio.get_running_loop().call_later(_PASSED_S + _OVERTIME_S, call.cancel)
        else:
            call.cancel()

    def _deadline_passes(self, context: Context) -> bool:
        return self._callee_keeps_time and _passes(context)


def _passes(context: Context) -> bool:
    """Whether a call's deadline has passed or is about to."""
    left_s = context.time_remaining()
    return left_s is not None and left_s < _PASSED_S


async def _shielded(answer: Coroutine[Any, Any, T], context: Context) -> T:
    """Await an answer. If the deadline is passing, a cancellation of this task does not reach the call: `_cancel` ends that."""
    task = asyncio.get_running_loop().create_task(answer)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not _passes(context):
            task.cancel()
        # The caller is gone: nobody else asks how the task ended.
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        raise


def _timeout(left_s: float) -> str:
    """A deadline as it is on the wire."""
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
    # Not by `read`, which gives no more of what has arrived once the call has ended.
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
    """How the callee ended a call.

    When it does so while a request is being written, grpc.aio gives the call an end of its own as well, before or after.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._first: aio.AioRpcError | None = None
        call.add_done_callback(self._note)

    def _note(self, call: Any) -> None:
        if self._first is None:
            self._first = at_once(_end_now(call))

    async def of(self, error: aio.AioRpcError | None) -> aio.AioRpcError:
        """The callee's end of a call, code OK among others.

        Args:
            error: how it looks; None: it has succeeded.
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
    """What follows the initial metadata, which is passed on first. It is asked for only then: a call may end before."""
    headers = await call.initial_metadata()
    if headers:
        await _send_headers(headers, context)
        return await following()
    # There are none, or they have no entries, which goes unsaid: what follows tells, but for a callee that waits.
    waiting = asyncio.ensure_future(following())
    try:
        done, _ = await asyncio.wait((waiting,), timeout=BARE_HEADERS_S)
        # An end that is here before them leaves none at first.
        headers = await call.initial_metadata()
        if headers or not done:
            await to_caller(context.send_initial_metadata(_trailers(headers)))
        return await waiting
    finally:
        # Looked at, so that nobody complains that it was not.
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
    return tuple((key, value) for key, value in trailers or () if key not in _HOP_TRAILERS)
