"""Hosted methods with async handlers as grpc.aio serves them: the handler itself, with the least around it.

Around it are the slots and the trailers that tell the agent's load. What it comes to, or raises, is an outcome first, as that
of a durable attempt; the native context is told once, in the end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from weft.agent.direct.direct_endings import Endings, no_slot
from weft.agent.direct.direct_task import DirectAsyncContext
from weft.agent.direct.load_trailers import LoadReports
from weft.agent.direct.running_handlers import RunningHandlers
from weft.agent.handlers import telemetry
from weft.agent.handlers.invoke import MalformedRequest, invoke_async
from weft.agent.handlers.slots import Slots
from weft.agent.hosted_methods import HostedMethod

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
        self._running = RunningHandlers(slots.overruns)

    def handler(self, hosted: HostedMethod) -> Handler:
        """What serves a method."""
        slots, load, endings, agent_id = self._slots, self._load, self._endings, self._agent_id
        name, cost, running = hosted.name, hosted.slot_cost, self._running

        async def serve(request: Any, native: Any) -> bytes:
            # Asked for first: most calls need not wait.
            if not slots.take_direct(cost) and (why := await no_slot(slots, cost, native, agent_id)):
                await endings.refuse(why, native)
            context = DirectAsyncContext(name, agent_id, native, request)
            running.begin(context, hosted)
            try:
                if telemetry.tracing():
                    with telemetry.serving(context.assignment, agent_id):
                        outcome = await invoke_async(hosted, context, context.pass_on)
                else:
                    outcome = await invoke_async(hosted, context, context.pass_on)
            finally:
                running.end(context)
                trailers = load.trailers()
                slots.give_direct(cost)
            # The slot is free already: a caller that does not read must not keep it.
            return await endings.answer(outcome, context, native, trailers)

        return method_handler(hosted, serve)


def strict(hosted: HostedMethod) -> Callable[[bytes], Any]:
    """A method's deserializer, which raises `MalformedRequest`."""
    deserialize = hosted.deserialize

    def parse(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except (DecodeError, ValueError) as error:
            raise MalformedRequest(hosted, error) from None

    return parse


def method_handler(hosted: HostedMethod, serve: Serve) -> Handler:
    """`serve` as gRPC takes it: one request and all responses as bytes, the requests of a stream parsed."""
    request_shape = "stream" if hosted.request_streaming else "unary"
    response_shape = "stream" if hosted.response_streaming else "unary"
    make: Any = getattr(grpc, f"{request_shape}_{response_shape}_rpc_method_handler")
    made: Handler = make(serve, request_deserializer=strict(hosted) if hosted.request_streaming else None)
    return made
