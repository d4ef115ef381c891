"""Direct calls whose handlers are sync or isolated: each has a thread, and its RPC's task waits for that.

    RPC's task, on the loop            the handler's thread (isolated: and its process)
    request, native context ─────────► a SyncContext, as for a durable attempt
    writes, initial metadata ◄──────── waits for each: the caller's flow control holds it up
    outcome ◄───────────────────────── end

grpc.aio's own way to run sync handlers tells them nothing of a cancellation, loses a thread when a caller leaves a
stream, and has half of a `grpc.ServicerContext`. Here a handler that outlives its call is told, and its slot stays taken
until it ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, TypeVar

import grpc
from grpc import aio

from weft.agent.direct.async_handlers import Handler, method_handler
from weft.agent.direct.direct_endings import Endings, no_slot
from weft.agent.direct.direct_task import assignment_of
from weft.agent.direct.load_trailers import LoadReports
from weft.agent.handler_context import Metadata, SyncContext, checked
from weft.agent.handlers import forks, outcomes, telemetry
from weft.agent.handlers.executor import UNWANTED_GRACE_S
from weft.agent.handlers.failure_log import log_raised
from weft.agent.handlers.invoke import invoke_sync
from weft.agent.handlers.isolate import IsolatedPool
from weft.agent.handlers.slots import Slots
from weft.agent.handlers.threads import Threads
from weft.agent.hosted_methods import HostedMethod
from weft.rpc.calls import metadata
from weft.rpc.network.gone import to_caller
from weft.rpc.process.logs import get_logger
from weft.v1 import session_pb2, task_pb2

_log = get_logger("weft.agent")

T = TypeVar("T")
Send = Callable[[bytes], bool]


class ThreadedCalls:
    """Runs the handlers of direct calls in threads. On the event loop."""

    def __init__(
        self,
        slots: Slots,
        threads: Threads,
        pool: IsolatedPool | None,
        loop: asyncio.AbstractEventLoop,
        max_message_bytes: int,
    ) -> None:
        self.loop = loop
        self._slots = slots
        self._threads = threads
        self._pool = pool
        self._max_message_bytes = max_message_bytes

    async def run(self, hosted: HostedMethod, context: SyncContext, send: Send) -> task_pb2.Outcome:
        """Run a handler whose slots have been taken.

        When this returns, they are still the caller's to give. When it is cancelled, they are given back here, once the
        handler has ended.
        """
        ended: asyncio.Future[task_pb2.Outcome] = self.loop.create_future()
        place: list[int] = []
        work = functools.partial(self._work, hosted, context, send, ended, place)
        # A context of its own: what a handler sets must not be seen by the thread's next one.
        self._threads.submit(functools.partial(contextvars.copy_context().run, work))
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            if ended.done():
                self._slots.give_direct(hosted.slot_cost)
            else:
                ended.add_done_callback(lambda _ended: self._slots.give_direct(hosted.slot_cost))
                self._abandon(hosted, context, ended, place)
            raise

    def _work(
        self,
        hosted: HostedMethod,
        context: SyncContext,
        send: Send,
        ended: asyncio.Future[task_pb2.Outcome],
        place: list[int],
    ) -> None:
        place.append(threading.get_ident())
        outcome: task_pb2.Outcome | None = None
        try:
            if telemetry.tracing():
                with telemetry.serving(context.assignment, context.agent_id):
                    outcome = self._invoke(hosted, context, send)
            else:
                outcome = self._invoke(hosted, context, send)
        except BaseException as error:
            # Not the handler's, whose are outcomes already.
            log_raised("a direct call could not be run", error, method=hosted.name)
        finally:
            try:
                self.loop.call_soon_threadsafe(ended.set_result, outcome or outcomes.not_run(hosted.name))
            except RuntimeError:
                _log.debug("a handler ended after its event loop", method=hosted.name)

    def _invoke(self, hosted: HostedMethod, context: SyncContext, send: Send) -> task_pb2.Outcome:
        if hosted.isolated is None or self._pool is None:
            return invoke_sync(hosted, context, send)
        try:
            return self._pool.run(context, send, self._max_message_bytes)[0]
        finally:
            context.finish()

    def _abandon(
        self,
        hosted: HostedMethod,
        context: SyncContext,
        ended: asyncio.Future[task_pb2.Outcome],
        place: Sequence[int],
    ) -> None:
        """Nobody waits for this handler any more.

        Args:
            place: the thread that runs it; empty: none does yet.
        """
        late = context.time_left_s() == 0
        context.signal_cancel("the deadline has passed" if late else "the caller has gone")
        self._threads.submit(context.run_callbacks)
        if hosted.isolated is not None and self._pool is not None:
            self._threads.submit(functools.partial(self._pool.cancel, context))
            self.loop.call_later(0.0 if late else UNWANTED_GRACE_S, self._pool.kill, context)
            return
        timer = self.loop.call_later(UNWANTED_GRACE_S, self._overrun, hosted, context, ended, place)
        ended.add_done_callback(lambda _ended: timer.cancel())

    def _overrun(
        self,
        hosted: HostedMethod,
        context: SyncContext,
        ended: asyncio.Future[task_pb2.Outcome],
        place: Sequence[int],
    ) -> None:
        overruns = self._slots.overruns
        task_id = context.assignment.task_id
        overruns.add(
            ended, hosted.name, hosted.slot_cost, place[0] if place else 0, task_id=task_id, direct=True
        )
        ended.add_done_callback(overruns.remove)


class ThreadHandlers:
    """Makes what serves sync and isolated handlers."""

    def __init__(
        self, calls: ThreadedCalls, slots: Slots, load: LoadReports, endings: Endings, agent_id: str
    ) -> None:
        self._calls = calls
        self._load = load
        self._slots = slots
        self._endings = endings
        self._agent_id = agent_id

    def handler(self, hosted: HostedMethod) -> Handler:
        """What serves a method."""

        async def serve(request: Any, native: Any) -> Any:
            context = DirectSyncContext(
                _assignment(hosted, request, native), self._agent_id, native, request, self._calls.loop
            )
            if why := await no_slot(self._slots, hosted.slot_cost, native, self._agent_id):
                await self._endings.refuse(why, native)
            try:
                outcome = await self._calls.run(hosted, context, context.send)
                return await self._answer(hosted, outcome, context, native)
            finally:
                context.gone = True

        return method_handler(hosted, serve)

    async def _answer(
        self, hosted: HostedMethod, outcome: task_pb2.Outcome, context: DirectSyncContext, native: Any
    ) -> bytes:
        load = self._load.trailers()
        self._slots.give_direct(hosted.slot_cost)
        if outcome.headers and not context.sent_any:
            # An isolated handler's come with its outcome.
            await to_caller(native.send_initial_metadata(metadata.from_proto(outcome.headers)))
        return await self._endings.answer(outcome, context, native, load)


def _assignment(hosted: HostedMethod, request: Any, native: Any) -> session_pb2.Assignment:
    made = assignment_of(hosted.name, native)
    if hosted.isolated is not None:
        # It goes to another process, with all that the handler may ask for.
        made.payload = request
        made.context.metadata.extend(metadata.to_proto(native.invocation_metadata() or ()))
    return made


class DirectSyncContext(SyncContext):
    """A sync handler's context over the native one: what needs the RPC is done on its loop, while the call is there."""

    def __init__(
        self,
        assignment: session_pb2.Assignment,
        agent_id: str,
        native: Any,
        request: Any,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        left_s = native.time_remaining()
        super().__init__(assignment, agent_id, None if left_s is None else time.monotonic() + left_s)
        # The RPC has ended: its native objects must not be used any more. Written and read on the loop.
        self.gone = False
        # Initial metadata or a response has gone out.
        self.sent_any = False
        self._native = native
        self._request = request
        self._loop = loop
        # Copied, for a handler may outlive its call.
        self._metadata = native.invocation_metadata() or ()
        self._peer = native.peer()

    def request(self, hosted: HostedMethod) -> Any:
        return self._requests() if hosted.request_streaming else hosted.deserialize(self._request)

    def _requests(self) -> Iterator[Any]:
        while True:
            message = self._on_loop(self._native.read)
            if message is aio.EOF:
                if not self.is_active():
                    # As a grpc server does: not to be taken for the caller's half-close.
                    raise grpc.RpcError(self.cancel_reason)
                return
            yield message

    def send(self, response: bytes) -> bool:
        """Send one response of a stream, when the caller takes it. False: there is no caller any more."""
        try:
            self._on_loop(self._native.write, response)
        except (aio.BaseError, grpc.RpcError, CancelledError):
            return False
        self.sent_any = True
        return True

    def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        if self.sent_any:
            raise ValueError("Initial metadata no longer allowed!")
        self._on_loop(self._native.send_initial_metadata, checked(initial_metadata))
        self.sent_any = True

    def invocation_metadata(self) -> Any:
        return self._metadata

    def peer(self) -> str:
        peer: str = self._peer
        return peer

    def set_compression(self, compression: grpc.Compression) -> None:
        self._native.set_compression(compression)

    def disable_next_message_compression(self) -> None:
        self._native.disable_next_message_compression()

    def _on_loop(self, operation: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Do something with the RPC and wait for it, in the handler's thread.

        Raises:
            grpc.RpcError: the call has ended.
        """
        if forks.is_child():
            raise grpc.RpcError("the call is the agent's, of which this process is a forked child")

        async def do() -> T:
            if self.gone:
                raise grpc.RpcError("the call has ended")
            return await operation(*args)

        return asyncio.run_coroutine_threadsafe(do(), self._loop).result()
