"""One run of a handler: when it starts, how long it may take, how it is cancelled and given up.

The one mechanism for all callers. A durable attempt, a direct call and a call of an `Execute` stream are subclasses: each
says where responses go (`send`), where the outcome goes (`report`), and what happens once the handler is gone (`gone`).
A runner starts the handler and tells it of its cancellation: on the event loop, in a thread, or in a process.

    waiting ──start──► running ──────────────────────── report, ended
       │                  └─ cancel, time limit ─► told ─ grace ─► cut off: abandoned, overrun or killed
       └─ cancel, time limit ─► answer, withdraw
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, Protocol

from weft.agent.handlers import outcomes
from weft.agent.handlers.handler_context import HandlerContext
from weft.agent.handlers.overrun import Overruns
from weft.agent.hosting.hosted_methods import HostedMethod
from weft.rpc.telemetry.traces import EndSpan
from weft.v1 import task_pb2

# Time for a handler to end when its outcome is not needed any more. Then it is cut off.
UNWANTED_GRACE_S = 5.0
# The shortest timer of an event loop that counts in whole milliseconds.
_SHORTEST_S = 0.001


class Runner(Protocol):
    """A way to run handlers. Called on the event loop."""

    loop: asyncio.AbstractEventLoop
    overruns: Overruns
    # The context class that its handlers expect.
    context_type: type[HandlerContext]

    def start(self, run: HandlerRun) -> None:
        """Start the handler. It ends with `report`, from any thread, then `ended`, on the event loop."""

    def cancel(self, run: HandlerRun) -> None:
        """Tell a handler that it is cancelled; its context says so already."""

    def cut_off(self, run: HandlerRun) -> bool:
        """Give up a handler that has not ended. True if it is abandoned: its slots are free at once."""
        ...


class HandlerRun(ABC):
    """One run of a handler. Used on the event loop, except where a method says "from any thread".

    Large because it is the one interface between the runners and the three kinds of calls: durable, direct, `Execute`.
    """

    # Set by the subclass' constructor. The context is of the runner's class; Any, because each runner knows its own.
    hosted: HostedMethod
    context: Any
    runner: Runner
    # Current while the handler runs; None: no trace.
    span: AbstractContextManager[EndSpan] | None

    # Whether it is a direct call.
    direct = True
    # Whether operators may see the handler's exception.
    tells_errors = False
    started = False
    # The handler is gone or abandoned: its slots are free.
    over = False
    # It ignored its cancellation, and is counted.
    overrun = False
    timer: asyncio.TimerHandle | None = None
    # Written by the runner: the task or the thread in which the handler runs. 0: it does not run yet.
    task: asyncio.Task[None] | None = None
    thread = 0

    # -- the sink: the caller's own part ------------------------------------------------------------------------

    @property
    def limit_bytes(self) -> int:
        """The largest response. From any thread."""
        raise NotImplementedError

    async def send(self, response: bytes) -> None:  # noqa: ARG002
        """Send one serialized response of a stream, on the event loop."""
        raise AssertionError("a unary handler has no stream")

    def send_blocking(self, response: bytes) -> bool:  # noqa: ARG002
        """Send one serialized response of a stream, from the handler's thread. False if the stream has ended."""
        raise AssertionError("a unary handler has no stream")

    @abstractmethod
    def report(self, outcome: task_pb2.Outcome, *, crashed: bool = False) -> None:
        """Take the handler's outcome. From any thread.

        Args:
            crashed: the process or the app that ran the handler died.
        """

    @abstractmethod
    def answer(self, outcome: task_pb2.Outcome) -> None:
        """Answer in place of a handler that has not ended. The handler's later outcome is dropped."""

    @abstractmethod
    def gone(self) -> None:
        """The handler has ended or is abandoned: free its slots."""

    @abstractmethod
    def withdraw(self) -> None:
        """Stop waiting for slots: the call was answered before the handler's start."""

    # -- the mechanism ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the handler; its slots are taken."""
        self.started = True
        self.runner.start(self)

    def ended(self) -> None:
        """The handler has ended."""
        if self.over:
            return
        self.over = True
        if self.timer is not None:
            self.timer.cancel()
        if self.overrun:
            self.runner.overruns.remove(self)
        self.gone()

    def limit(self, deadline_at: float) -> None:
        """End the run at a time of the monotonic clock, even if it has not started by then."""
        left_s = max(_SHORTEST_S, deadline_at - time.monotonic())
        self.timer = self.runner.loop.call_later(left_s, self._expire, deadline_at)

    def cancel(self, reason: str, grace_s: float) -> None:
        """Cancel the run. The handler may end by itself within the grace, with an outcome of its own."""
        if not self.started:
            self.answer(outcomes.cancelled(reason))
            self.withdraw()
        elif not self.context.cancel_signal:
            self._tell(reason, grace_s)

    def drop(self, reason: str, *, late: bool = False) -> None:
        """End the handler: the call was answered, or its caller is gone.

        Args:
            late: its time limit has passed.
        """
        if not self.started:
            self.withdraw()
        elif not self.over:
            # An isolated handler gets no further grace: it had all of its time.
            self._tell(reason, 0.0 if late and self.hosted.isolated is not None else UNWANTED_GRACE_S)

    def _tell(self, reason: str, grace_s: float) -> None:
        self.context.signal_cancel(reason)
        self.cut_off_after(grace_s)
        self.runner.cancel(self)

    def cut_off_after(self, grace_s: float) -> None:
        """Cut off a handler that knows of its cancellation, unless it ends within the grace."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.runner.loop.call_later(grace_s, self._cut_off)

    def _cut_off(self) -> None:
        self.answer(outcomes.cancelled(self.context.cancel_reason))
        if self.runner.cut_off(self):
            self.ended()

    def _expire(self, deadline_at: float) -> None:
        if time.monotonic() < deadline_at:
            # Timers of event loops fire some milliseconds early. A coordinator that gets the report before the limit
            # would assume another limit.
            self.limit(deadline_at)
            return
        self.answer(outcomes.time_limit())
        self.drop("the time limit passed", late=True)
