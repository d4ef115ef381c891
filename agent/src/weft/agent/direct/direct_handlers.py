"""Hosted methods as grpc.aio serves them: each call is a handler run that ends on its RPC's native context.

    caller ─► RPC's task: slots ─► DirectCall ─┬─ async: the handler, in this task
                                               └─ sync or isolated: in a thread, for which this task waits
              answer ◄─ outcome, and the agent's load as trailers

grpc.aio itself does not tell sync handlers of a cancellation, loses a thread when a caller leaves a stream, and offers
half of a `grpc.ServicerContext`. Here a handler learns that its call has ended, and its slots stay used until it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from typing import Any, NamedTuple, TypeAlias

import grpc
from grpc import aio

from weft.agent.direct.direct_contexts import DirectAsyncContext, DirectSyncContext
from weft.agent.direct.direct_endings import Endings, no_slot
from weft.agent.direct.direct_use import DirectUse
from weft.agent.direct.load_trailers import LoadReports
from weft.agent.handlers.handler_run import UNWANTED_GRACE_S, HandlerRun, Runner
from weft.agent.handlers.invoke import strict
from weft.agent.handlers.runners import Runners
from weft.agent.handlers.slots import Slots
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.rpc.calls import metadata
from weft.rpc.calls.metadata import Pairs
from weft.rpc.network.gone import to_caller
from weft.rpc.telemetry import traces
from weft.rpc.telemetry.call_figures import CallFigures
from weft.v1 import task_pb2

# How often to look for calls that gRPC has cancelled.
LOOK_S = 1.0

# Under this name because grpc.RpcMethodHandler takes parameters in its stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
# (the request as gRPC gives it, its context) -> the response.
Serve = Callable[[Any, Any], Awaitable[Any]]


class DirectCall(HandlerRun):
    """A direct call's run. The RPC's task answers with `outcome` and `trailers` once the handler is gone."""

    outcome: task_pb2.Outcome
    # The agent's load when the handler ended.
    trailers: Pairs = ()
    # For a handler in a thread: the RPC's task waits for this.
    _done: asyncio.Future[None] | None = None
    # When it had its slots, by `time.perf_counter`. 0: it has none yet.
    began_s = 0.0

    def __init__(
        self, handlers: DirectHandlers, hosted: HostedMethod, context: Any, runner: Runner, native: Any
    ) -> None:
        self.hosted = hosted
        self.context = context
        self.runner = runner
        traced = traces.tracing()
        self.span = traces.serving(context.assignment, handlers.agent_id) if traced else None
        self._handlers = handlers
        self._native = native

    @property
    def limit_bytes(self) -> int:
        return self._handlers.max_message_bytes

    async def send(self, response: bytes) -> None:
        try:
            await self._native.write(response)
        except aio.UsageError:
            raise
        except aio.BaseError:
            self.context.signal_cancel("the caller has gone")
            raise

    def send_blocking(self, response: bytes) -> bool:
        try:
            self.context.on_loop(self._native.write, response)
        except (aio.BaseError, grpc.RpcError, CancelledError):
            return False
        self.context.sent_any = True
        return True

    def report(self, outcome: task_pb2.Outcome, *, crashed: bool = False) -> None:  # noqa: ARG002
        self.outcome = outcome

    def answer(self, outcome: task_pb2.Outcome) -> None:
        """Nothing to do: gRPC itself has ended the call."""

    def withdraw(self) -> None:
        """Nothing to do: a direct call starts as soon as it has its slots."""

    def gone(self) -> None:
        self.trailers = self._handlers.load.trailers()
        self._handlers.running.discard(self)
        self._handlers.slots.give_direct(self.hosted.slot_cost)
        context = self.context
        self._handlers.use.count(self, context.tree, self.began_s, context.request_bytes)
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def run_elsewhere(self) -> None:
        """Run the handler in its thread, to its end. A cancelled handler is told, and keeps its slots until it ends."""
        self._done = self.runner.loop.create_future()
        self.start()
        try:
            await self._done
        except asyncio.CancelledError:
            late = self.context.time_left_s() == 0
            self.drop("the deadline has passed" if late else "the caller has gone", late=late)
            raise


class DirectParts(NamedTuple):
    """The parts of an agent that direct calls need."""

    runners: Runners
    # Shared with durable attempts.
    slots: Slots
    load: LoadReports
    agent_id: str
    # Largest request or response.
    max_message_bytes: int
    # Times the calls.
    calls: CallFigures
    # Counts what they use.
    use: DirectUse


class DirectHandlers:
    """Makes the gRPC handlers of hosted methods."""

    def __init__(self, parts: DirectParts, endings: Endings) -> None:
        runners, self.slots, self.load, self.agent_id, self.max_message_bytes, _, self.use = parts
        # In their RPC's own task.
        self.running: set[DirectCall] = set()
        self._runners = runners
        self._endings = endings
        self._looking = False

    def handler(self, hosted: HostedMethod) -> Handler:
        """The gRPC handler of a method."""
        runner = self._runners.of(hosted)
        serve = self._on_loop(hosted) if runner is self._runners.on_loop else self._elsewhere(hosted, runner)
        return method_handler(hosted, serve, coded=self._runners.coder is not None)

    def _on_loop(self, hosted: HostedMethod) -> Serve:
        runner, slots, endings, agent_id = self._runners.on_loop, self.slots, self._endings, self.agent_id
        name, cost, running = hosted.name, hosted.slot_cost, self.running

        async def serve(request: Any, native: Any) -> bytes:
            context = DirectAsyncContext(name, agent_id, native, request)
            call = DirectCall(self, hosted, context, runner, native)
            # Without a wait first: most calls need none.
            if not slots.take_direct(cost) and (why := await no_slot(slots, cost, native, agent_id)):
                await endings.refuse(why, native)
            # In this task, which gRPC cancels with the call. Another task would cost as much as the rest of this
            # function.
            call.task = asyncio.current_task()
            call.began_s = time.perf_counter()
            running.add(call)
            if not self._looking:
                self._look()
            await runner.run(call)
            return await endings.answer(call.outcome, context, native, call.trailers)

        return serve

    def _elsewhere(self, hosted: HostedMethod, runner: Runner) -> Serve:
        slots, endings = self.slots, self._endings

        async def serve(request: Any, native: Any) -> bytes:
            context = DirectSyncContext(hosted, self.agent_id, native, request, runner.loop)
            call = DirectCall(self, hosted, context, runner, native)
            if why := await no_slot(slots, hosted.slot_cost, native, self.agent_id):
                await endings.refuse(why, native)
            call.began_s = time.perf_counter()
            try:
                await call.run_elsewhere()
                headers = call.outcome.headers
                if headers and not context.sent_any:
                    # Those of an isolated handler come with its outcome.
                    await to_caller(native.send_initial_metadata(metadata.from_proto(headers)))
                return await endings.answer(call.outcome, context, native, call.trailers)
            finally:
                context.gone = True

        return serve

    def _look(self) -> None:
        """Look for calls that gRPC has cancelled: gRPC does not report it before the call's task ends."""
        for call in self.running:
            if call.timer is None and call.task is not None and call.task.cancelling():
                call.cut_off_after(UNWANTED_GRACE_S)
        self._looking = bool(self.running)
        if self._looking:
            self._runners.loop.call_later(LOOK_S, self._look)


def method_handler(hosted: HostedMethod, serve: Serve, *, coded: bool = False) -> Handler:
    """`serve` as gRPC takes it: one request and all responses as bytes, the requests of a stream parsed.

    Args:
        coded: requests of a stream are bytes too: they may be coded.
    """
    request_shape = "stream" if hosted.request_streaming else "unary"
    response_shape = "stream" if hosted.response_streaming else "unary"
    make: Any = getattr(grpc, f"{request_shape}_{response_shape}_rpc_method_handler")
    parsed = hosted.request_streaming and not coded
    made: Handler = make(serve, request_deserializer=strict(hosted) if parsed else None)
    return made
