"""Hosted methods with async handlers as grpc.aio serves them: the handler itself, with the least around it.

The handler gets grpc.aio's own context and streams. Around it are the slots, the trailers that tell the agent's load, and
an answer for whatever it raises. Nothing is done for a call that its handler does not ask for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from weft.agent import telemetry
from weft.agent.hosting import Hosted
from weft.agent.ingress_call import DirectCall
from weft.agent.ingress_load import LoadReports, merged
from weft.agent.ingress_refusals import Endings, chosen_failure, has_slot, no_slot
from weft.agent.invoke import MalformedRequest
from weft.agent.running import enter
from weft.agent.slots import Slots

# Under this name because grpc.RpcMethodHandler takes parameters in its stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
# (what gRPC gives as the request, its context) -> the response.
Serve = Callable[[Any, Any], Awaitable[Any]]


class AsyncHandlers:
    """Makes what serves async handlers."""

    def __init__(self, slots: Slots, load: LoadReports, endings: Endings, agent_id: str) -> None:
        self._slots = slots
        self._load = load
        self._endings = endings
        self._agent_id = agent_id

    def handler(self, hosted: Hosted) -> Handler:
        """What serves a method."""
        answer = _streaming(hosted) if hosted.response_streaming else _unary(hosted)
        serialize = hosted.serialize if hosted.response_streaming else None
        return method_handler(hosted, self._served(hosted, answer), serialize=serialize)

    def _served(self, hosted: Hosted, answer: Serve) -> Serve:
        slots, load, endings, agent_id = self._slots, self._load, self._endings, self._agent_id
        name, cost = hosted.name, hosted.slot_cost

        async def serve(request: Any, context: Any) -> Any:
            if not slots.take_direct(cost) and not await has_slot(slots, cost, context):
                await endings.refuse(no_slot(slots), context)
            response: Any = b""
            raised: BaseException | None = None
            # For the case that the handler aborts the call, which then ends at once.
            early = load.trailers()
            try:
                context.set_trailing_metadata(early)
                call = DirectCall(name, agent_id, context)
                enter(call)
                if telemetry.tracing():
                    with telemetry.serving(call.assignment, agent_id):
                        response = await answer(request, context)
                else:
                    response = await answer(request, context)
            except (Exception, asyncio.CancelledError, SystemExit) as error:
                raised = error
            finally:
                trailers = load.trailers()
                slots.give_direct(cost)
            if raised is not None:
                # The slot is free already: a caller that does not read must not keep it.
                await endings.raised(raised, hosted, context, trailers)
            own = context.trailing_metadata()
            if own is not early:
                trailers = merged(own, trailers)
            if own is not trailers:
                context.set_trailing_metadata(trailers)
            return response

        return serve


def _unary(hosted: Hosted) -> Serve:
    behavior, serialize = hosted.behavior, hosted.serialize
    # Of one request the bytes come; a stream's are parsed as they are read.
    parse = None if hosted.request_streaming else strict(hosted)

    async def answer(request: Any, context: Any) -> bytes:
        response = await behavior(request if parse is None else parse(request), context)
        # As gRPC does: a failure has no response.
        return b"" if chosen_failure(context) else serialize(response)

    return answer


def _streaming(hosted: Hosted) -> Serve:
    behavior = hosted.behavior
    parse = None if hosted.request_streaming else strict(hosted)

    async def answer(request: Any, context: Any) -> None:
        responses = behavior(request if parse is None else parse(request), context)
        if not hasattr(responses, "__aiter__"):
            # A coroutine that calls `context.write`.
            await responses
            return
        async with (
            contextlib.aclosing(responses) if hasattr(responses, "aclose") else contextlib.nullcontext()
        ):
            async for response in responses:
                await context.write(response)

    return answer


def strict(hosted: Hosted) -> Callable[[bytes], Any]:
    """A method's deserializer, which raises `MalformedRequest`."""
    deserialize = hosted.deserialize

    def parse(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except (DecodeError, ValueError) as error:
            raise MalformedRequest(hosted, error) from None

    return parse


def method_handler(
    hosted: Hosted, serve: Serve, *, serialize: Callable[[Any], bytes] | None = None
) -> Handler:
    """`serve` as gRPC takes it: one request or response as bytes, the requests of a stream parsed.

    Args:
        serialize: of the responses of a stream; None: they come as bytes.
    """
    request_shape = "stream" if hosted.request_streaming else "unary"
    response_shape = "stream" if hosted.response_streaming else "unary"
    make: Any = getattr(grpc, f"{request_shape}_{response_shape}_rpc_method_handler")
    made: Handler = make(
        serve,
        request_deserializer=strict(hosted) if hosted.request_streaming else None,
        response_serializer=serialize,
    )
    return made
