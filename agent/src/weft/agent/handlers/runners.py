"""The three ways to run a handler: on the event loop, in a thread, in a process of its own.

A runner starts a handler, tells it of its cancellation, and gives it up. It reports through the executor and keeps no
account of slots.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

from weft.agent.handler_context import AsyncContext, HandlerContext, SyncContext
from weft.agent.handlers import outcomes, telemetry
from weft.agent.handlers.failure_log import log_raised
from weft.agent.handlers.invoke import invoke_async, invoke_sync
from weft.agent.handlers.threads import Threads
from weft.agent.hosted_methods import HostedMethod
from weft.agent.session.attempt import HeldAttempt
from weft.rpc.process.logs import get_logger
from weft.v1 import task_pb2

if TYPE_CHECKING:
    from weft.agent.handlers.executor import Executor
    from weft.agent.handlers.isolate import IsolatedPool

_log = get_logger("weft.agent")


class Runner(Protocol):
    """How a handler is run. All but the handler itself happens on the event loop."""

    # The flavour of context that its handlers expect.
    context_type: type[HandlerContext]

    def start(self, attempt: HeldAttempt) -> None:
        """Start the handler. It ends with `Executor.report` and `ended`, in that order."""

    def cancel(self, attempt: HeldAttempt) -> None:
        """Tell a handler, whose context says so already, that it is cancelled."""

    def cut_off(self, attempt: HeldAttempt) -> bool:
        """Give up a handler that has not ended. True: its slot is free at once."""
        ...


class AsyncRunner:
    """One asyncio task a handler, on the application's own loop."""

    context_type: type[HandlerContext] = AsyncContext

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._loop = executor.loop

    def start(self, attempt: HeldAttempt) -> None:
        attempt.task = self._loop.create_task(self._run(attempt))

    async def _run(self, attempt: HeldAttempt) -> None:
        executor = self._executor
        hosted = cast("HostedMethod", attempt.hosted)
        context = cast("AsyncContext", attempt.context)
        send = functools.partial(self._send, attempt)
        outcome: task_pb2.Outcome | None = None
        try:
            if attempt.assignment.context.traceparent:
                with telemetry.processing(attempt.assignment, executor.agent_id) as end_span:
                    outcome = await invoke_async(hosted, context, send)
                    end_span(outcome)
            else:
                outcome = await invoke_async(hosted, context, send)
        except BaseException as error:
            _not_run(attempt, error)
        finally:
            executor.report(attempt, outcome or outcomes.not_run(hosted.name), crashed=context.crashed)
            executor.ended(attempt)

    async def _send(self, attempt: HeldAttempt, payload: bytes) -> None:
        self._executor.check_size(payload)
        outbox = self._executor.outbox
        while True:
            room = asyncio.Event()
            if outbox.send_progress(attempt, payload, functools.partial(self._wake, room)):
                return
            await room.wait()

    def _wake(self, room: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(room.set)

    def cancel(self, attempt: HeldAttempt) -> None:
        cast("HandlerContext", attempt.context).run_callbacks()
        # Not before its first step, which may still be due: it would end without having begun, and nobody reported.
        self._loop.call_soon(cast("asyncio.Task[None]", attempt.task).cancel)

    def cut_off(self, attempt: HeldAttempt) -> bool:
        _log.warning(
            "an async handler ignored its cancellation: abandoned",
            method=attempt.assignment.method,
            task_id=attempt.ref[0],
            attempt=attempt.ref[1],
        )
        return True


class ThreadRunner:
    """One thread a handler."""

    context_type: type[HandlerContext] = SyncContext

    def __init__(self, executor: Executor, threads: Threads) -> None:
        self._executor = executor
        self._threads = threads

    def start(self, attempt: HeldAttempt) -> None:
        # A context of its own: what a handler sets must not be seen by the thread's next one.
        context = contextvars.copy_context()
        self._threads.submit(lambda: context.run(self._run, attempt))

    def _run(self, attempt: HeldAttempt) -> None:
        executor = self._executor
        attempt.thread = threading.get_ident()
        outcome: task_pb2.Outcome | None = None
        crashed = False
        try:
            if attempt.assignment.context.traceparent:
                with telemetry.processing(attempt.assignment, executor.agent_id) as end_span:
                    outcome, crashed = self._invoke(attempt)
                    end_span(outcome)
            else:
                outcome, crashed = self._invoke(attempt)
        except BaseException as error:
            _not_run(attempt, error)
        finally:
            executor.report(attempt, outcome or outcomes.not_run(attempt.assignment.method), crashed=crashed)
            executor.post_ended(attempt)

    def _invoke(self, attempt: HeldAttempt) -> tuple[task_pb2.Outcome, bool]:
        hosted = cast("HostedMethod", attempt.hosted)
        context = cast("SyncContext", attempt.context)
        send = self._sender(attempt) if hosted.response_streaming else _never
        return invoke_sync(hosted, context, send), False

    def _sender(self, attempt: HeldAttempt) -> Callable[[bytes], bool]:
        """What sends one response, waiting for room. False: cancelled meanwhile."""
        context = cast("SyncContext", attempt.context)
        executor = self._executor
        room = threading.Event()
        context.add_callback(room.set)

        def send(payload: bytes) -> bool:
            executor.check_size(payload)
            while not executor.outbox.send_progress(attempt, payload, room.set):
                if not context.is_active():
                    return False
                room.wait()
                room.clear()
            return True

        return send

    def cancel(self, attempt: HeldAttempt) -> None:
        # The handler's callbacks may block: not on the loop.
        self._threads.submit(cast("HandlerContext", attempt.context).run_callbacks)

    def cut_off(self, attempt: HeldAttempt) -> bool:
        self._executor.overrun(attempt)
        return False


class IsolatedRunner(ThreadRunner):
    """One process a handler, which a thread here feeds and listens to."""

    def __init__(self, executor: Executor, threads: Threads, pool: IsolatedPool) -> None:
        super().__init__(executor, threads)
        self._pool = pool

    def _invoke(self, attempt: HeldAttempt) -> tuple[task_pb2.Outcome, bool]:
        context = cast("SyncContext", attempt.context)
        try:
            return self._pool.run(context, self._sender(attempt), self._executor.max_response_bytes)
        finally:
            context.finish()

    def cancel(self, attempt: HeldAttempt) -> None:
        context = cast("SyncContext", attempt.context)
        self._threads.submit(functools.partial(self._pool.cancel, context))
        super().cancel(attempt)

    def cut_off(self, attempt: HeldAttempt) -> bool:
        # The slot is free when the process is gone, which its thread sees within milliseconds.
        self._pool.kill(cast("SyncContext", attempt.context))
        return False


def _not_run(attempt: HeldAttempt, error: BaseException) -> None:
    """Something around a handler failed; what handlers raise are outcomes."""
    log_raised(
        "an attempt could not be run",
        error,
        method=attempt.assignment.method,
        task_id=attempt.ref[0],
        attempt=attempt.ref[1],
    )


def _never(_payload: bytes) -> bool:
    raise AssertionError("a unary handler has no stream")
