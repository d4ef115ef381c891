"""The three ways to run a handler: on the event loop, in a thread, in a process of its own.

A runner knows nothing of the caller: it runs a `HandlerRun`, tells it of its cancellation, and gives it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from weft.agent.handlers import outcomes
from weft.agent.handlers.handler_context import AsyncContext, HandlerContext, SyncContext
from weft.agent.handlers.handler_run import HandlerRun, Runner
from weft.agent.handlers.invoke import invoke_async, invoke_sync
from weft.agent.handlers.isolate import IsolatedPool
from weft.agent.handlers.overrun import Overruns
from weft.agent.handlers.threads import Threads
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.agent.hosting.payload_checks import MessageRefused, PayloadChecks
from weft.agent.process.failure_log import log_raised
from weft.rpc.process.logs import get_logger
from weft.v1 import task_pb2

if TYPE_CHECKING:
    from weft.rpc.payloads.payload_coder import PayloadCoder

_log = get_logger("weft.agent")


class AsyncRunner:
    """Runs a handler on the application's event loop: in an asyncio task of its own, or in the caller's."""

    context_type: type[HandlerContext] = AsyncContext

    def __init__(
        self, loop: asyncio.AbstractEventLoop, overruns: Overruns, coder: PayloadCoder | None = None
    ) -> None:
        self.loop = loop
        self.overruns = overruns
        self._coder = coder

    def start(self, run: HandlerRun) -> None:
        run.task = self.loop.create_task(self.run(run))

    async def run(self, run: HandlerRun) -> None:
        """Run the handler in the current task, to its end."""
        outcome: task_pb2.Outcome | None = None
        try:
            if self._coder is not None:
                outcome = await self._coded(self._coder, run)
            elif run.span is None:
                outcome = await invoke_async(run.hosted, run.context, run.send, direct=run.direct)
            else:
                with run.span as end_span:
                    outcome = await invoke_async(run.hosted, run.context, run.send, direct=run.direct)
                    end_span(outcome)
        except BaseException as error:
            _not_run(run, error)
        finally:
            run.report(outcome or outcomes.not_run(run.hosted.name), crashed=run.context.crashed)
            run.ended()

    @staticmethod
    async def _coded(coder: PayloadCoder, run: HandlerRun) -> task_pb2.Outcome:
        from weft.agent.handlers import coded_calls

        with run.span or contextlib.nullcontext(_no_span) as end_span:
            outcome = await coded_calls.run_async(coder, run)
            end_span(outcome)
        return outcome

    def cancel(self, run: HandlerRun) -> None:
        run.context.run_callbacks()
        if run.task is not None:
            # Not before the task's first step: a task that is cancelled before it ends without a report.
            self.loop.call_soon(run.task.cancel)

    def cut_off(self, run: HandlerRun) -> bool:
        if run.direct:
            _count(run, run.task or 0)
            return False
        _log.warning(
            "handler.abandoned",
            **run.context.log_fields(),
            effect="it ignored its cancellation: its slots are free",
        )
        return True


class ThreadRunner:
    """Runs each handler in a thread."""

    context_type: type[HandlerContext] = SyncContext

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        threads: Threads,
        overruns: Overruns,
        coder: PayloadCoder | None = None,
    ) -> None:
        self.loop = loop
        self.overruns = overruns
        self._coder = coder
        self._threads = threads
        self._ended: deque[HandlerRun] = deque()
        self._ended_posted = False

    def start(self, run: HandlerRun) -> None:
        # A context of its own: the thread's next handler must not see this one's context variables.
        context = contextvars.copy_context()
        self._threads.submit(lambda: context.run(self._run, run))

    def _run(self, run: HandlerRun) -> None:
        run.thread = threading.get_ident()
        outcome: task_pb2.Outcome | None = None
        crashed = False
        try:
            if run.span is None:
                outcome, crashed = self._invoke(run)
            else:
                with run.span as end_span:
                    outcome, crashed = self._invoke(run)
                    end_span(outcome)
        except BaseException as error:
            _not_run(run, error)
        finally:
            run.report(outcome or outcomes.not_run(run.hosted.name), crashed=crashed)
            self._post_ended(run)

    def _invoke(self, run: HandlerRun) -> tuple[task_pb2.Outcome, bool]:
        if self._coder is not None:
            from weft.agent.handlers import coded_calls

            return coded_calls.run_sync(self._coder, run), False
        return invoke_sync(run.hosted, run.context, run.send_blocking, direct=run.direct), False

    def _post_ended(self, run: HandlerRun) -> None:
        """Report a handler's end, from its thread. Ends that come close together wake the loop once."""
        self._ended.append(run)
        if not self._ended_posted:
            self._ended_posted = True
            try:
                self.loop.call_soon_threadsafe(self._take_ended)
            except RuntimeError:
                _log.debug("handler.ended_after_loop", **run.context.log_fields())

    def _take_ended(self) -> None:
        # Cleared first: a thread that appends after this posts again.
        self._ended_posted = False
        while self._ended:
            self._ended.popleft().ended()

    def cancel(self, run: HandlerRun) -> None:
        # The handler's callbacks may block: not on the loop.
        self._threads.submit(run.context.run_callbacks)

    def cut_off(self, run: HandlerRun) -> bool:
        _count(run, run.thread)
        return False


class IsolatedRunner(ThreadRunner):
    """Runs each handler in a process of its own; a thread here feeds the process and listens to it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        threads: Threads,
        overruns: Overruns,
        pool: IsolatedPool,
        coder: PayloadCoder | None = None,
    ) -> None:
        super().__init__(loop, threads, overruns, coder)
        self._pool = pool

    def _invoke(self, run: HandlerRun) -> tuple[task_pb2.Outcome, bool]:
        try:
            if self._coder is not None:
                return self._coded(self._coder, run)
            return self._in_process(run, run.send_blocking, run.limit_bytes, direct=run.direct)
        except MessageRefused as error:
            return error.outcome, False
        finally:
            run.context.finish()

    def _coded(self, coder: PayloadCoder, run: HandlerRun) -> tuple[task_pb2.Outcome, bool]:
        """Run the handler, and decode and code its messages here: its process has no keys."""
        from weft.agent.handlers import coded_calls

        crashed = False

        def invoke(send: Callable[[bytes], bool], *, direct: bool) -> task_pb2.Outcome:
            nonlocal crashed
            limit_bytes = max(run.limit_bytes, coder.max_bytes)
            outcome, crashed = self._in_process(run, send, limit_bytes, direct=direct)
            return outcome

        return coded_calls.within(coder, run, invoke), crashed

    def _in_process(
        self, run: HandlerRun, send: Callable[[bytes], bool], limit_bytes: int, *, direct: bool
    ) -> tuple[task_pb2.Outcome, bool]:
        if run.hosted.checks is None:
            return self._pool.run(run.context, send, limit_bytes, run.hosted.sandbox)
        return self._checked(run, run.hosted.checks, send, limit_bytes, direct=direct)

    def _checked(
        self,
        run: HandlerRun,
        checks: PayloadChecks,
        sink: Callable[[bytes], bool],
        limit_bytes: int,
        *,
        direct: bool,
    ) -> tuple[task_pb2.Outcome, bool]:
        """Run the handler, and check its messages here: its process knows no rules."""

        def send(response: bytes) -> bool:
            checks.check_response(response)
            return sink(response)

        if direct:
            checks.check_request(run.context.assignment.payload)
        outcome, crashed = self._pool.run(run.context, send, limit_bytes, run.hosted.sandbox)
        if not outcome.status.code and not run.hosted.response_streaming:
            checks.check_response(outcome.response)
        return outcome, crashed

    def cancel(self, run: HandlerRun) -> None:
        self._threads.submit(functools.partial(self._pool.cancel, run.context))
        super().cancel(run)

    def cut_off(self, run: HandlerRun) -> bool:
        # The slots are free once the process is gone. Its thread notices that within milliseconds.
        self._pool.kill(run.context)
        return False


class Runners:
    """The runners of an agent.

    Args:
        pool: the processes of isolated handlers; None: no method is isolated.
        coder: codes payloads; None: they are as they are.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        threads: Threads,
        overruns: Overruns,
        pool: IsolatedPool | None,
        coder: PayloadCoder | None = None,
    ) -> None:
        self.loop = loop
        self.coder = coder
        self.on_loop = AsyncRunner(loop, overruns, coder)
        self._in_thread = ThreadRunner(loop, threads, overruns, coder)
        self._isolated = None if pool is None else IsolatedRunner(loop, threads, overruns, pool, coder)

    def of(self, hosted: HostedMethod) -> Runner:
        """The runner of a method."""
        if hosted.isolated is not None and self._isolated is not None:
            return self._isolated
        return self.on_loop if hosted.is_async else self._in_thread


def _count(run: HandlerRun, runs_in: int | asyncio.Task[None]) -> None:
    """Count a handler as overrun: it keeps its slots until it ends.

    Args:
        runs_in: its thread or its task.
    """
    run.overrun = True
    hosted, facts = run.hosted, run.context.log_fields()
    run.runner.overruns.add(run, hosted.name, hosted.slot_cost, runs_in, facts=facts, direct=run.direct)


def _no_span(_outcome: task_pb2.Outcome) -> None:
    """The end of a span that is not there."""


def _not_run(run: HandlerRun, error: BaseException) -> None:
    """Log a fault around a handler; an exception of the handler itself is an outcome."""
    log_raised("handler.not_run", error, **run.context.log_fields())
