"""An agent's end, in order and in bounded time.

    RUNNING ──stop──► DRAINING: no new work or direct calls, waiting attempts are released, running handlers have the grace
                      └► STOPPING: handlers are cancelled, their attempts released, results sent and acknowledged
                         └► goodbye, closed

A second `stop` skips the waits, and heartbeats go on to the end. The steps are taken by a thread of their own: a handler that
blocks the event loop does not delay the agent's end.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import os
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import NamedTuple

from weft.agent.direct.direct_port import DirectPort
from weft.agent.handlers.slots import Slots
from weft.agent.session.connector import SessionConnector
from weft.agent.session.executor import Executor
from weft.agent.session.outbox import Outbox
from weft.rpc.process.logs import get_logger
from weft.rpc.process.steady_output import drain

_log = get_logger("weft.agent")

# For cancelled handlers, and for the last results to be acknowledged.
CANCEL_GRACE_S = 2.0
FLUSH_TIMEOUT_S = 5.0
GOODBYE_TIMEOUT_S = 2.0
# While handlers have their grace, the log says so often how many are left.
TELL_LEFT_S = 5.0
# The same time after a second `stop`.
HURRY_TIMEOUT_S = 0.5


class _Event(enum.Enum):
    STOP = enum.auto()
    CHANGED = enum.auto()


class ShutdownParts(NamedTuple):
    """The parts of an agent that serves."""

    outbox: Outbox
    slots: Slots
    session: SessionConnector
    executor: Executor
    direct_port: DirectPort


class Shutdown:
    """Ends an agent. Made on the agent's event loop.

    Args:
        drain_grace_s: for running handlers.
        closing_s: the time that the application's functions may take at the end.
        exit_when_blocked: the process is the agent's own: end it even when a handler blocks the loop for ever.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        drain_grace_s: float,
        closing_s: float,
        *,
        exit_when_blocked: bool,
    ) -> None:
        # None before the agent serves: there is nothing to drain.
        self.parts: ShutdownParts | None = None
        self.draining = False
        self.hurried = False
        # The thread is done: the agent may close.
        self.finished: asyncio.Future[None] = loop.create_future()
        # The agent is closed.
        self.closed = threading.Event()
        # It was told to stop.
        self.begun = False
        # Replaces the process, where it would be ended; None: it is to end.
        self.replace: Callable[[], None] | None = None
        self._loop = loop
        self._drain_grace_s = drain_grace_s
        self._closing_s = closing_s
        self._exit_when_blocked = exit_when_blocked
        # Signal handlers write here too, so it must not need a lock.
        self._events: SimpleQueue[_Event] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="weft-agent", daemon=True)
        self._closing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Wait for `stop`, in the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Drain and end; a second time: without waiting. From any thread, and from signal handlers."""
        self.begun = True
        self._events.put(_Event.STOP)

    def begin(self, grace_s: float | None) -> None:
        """As the first `stop`; a later one does nothing. From any thread.

        Args:
            grace_s: for running handlers; None: the agent's own.
        """
        if not self.begun:
            self._drain_grace_s = self._drain_grace_s if grace_s is None else grace_s
            self.stop()

    def hurry(self) -> None:
        """End without waiting. From any thread."""
        self.hurried = True
        self.stop()

    def changed(self) -> None:
        """An attempt or a direct call has ended. From any thread."""
        self._events.put(_Event.CHANGED)

    # -- on the thread ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._events.get() is not _Event.STOP:
            pass
        parts = self.parts
        try:
            if parts is not None:
                self._end(parts)
        finally:
            if parts is not None:
                parts.session.stop()
            self._post(self._finish)
            if self._exit_when_blocked and not self.closed.wait(CANCEL_GRACE_S + self._closing_s):
                _log.error("loop.never_free", effect="a handler blocks it: the process ends all the same")
                drain()
                if self.replace is not None:
                    self.replace()
                os._exit(1)

    def _finish(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)

    def _end(self, parts: ShutdownParts) -> None:
        outbox, session = parts.outbox, parts.session
        self.draining = True
        outbox.watched = True
        session.beat()
        self._post(parts.executor.drain)
        self._post(functools.partial(parts.direct_port.accept, on=False))
        _log.info("agent.draining", unfinished=outbox.unfinished(), grace_s=self._drain_grace_s)
        # New direct calls come for that time.
        self._wait(lambda: False, parts.direct_port.notice_s)
        all_ended = functools.partial(_all_ended, parts)
        if not self._wait(all_ended, self._drain_grace_s, tell=functools.partial(_tell_left, parts)):
            self._post(parts.executor.interrupt, CANCEL_GRACE_S)
            self._post(self._close, parts.direct_port)
            self._wait(all_ended, CANCEL_GRACE_S)
            released = outbox.release_unfinished()
            _log.warning(
                "attempts.released", count=released, effect="they had not ended in the grace: others run them"
            )
        self._wait(functools.partial(_may_leave, parts), FLUSH_TIMEOUT_S, HURRY_TIMEOUT_S)
        if outbox.size:
            _log.error(
                "results.not_acknowledged",
                count=outbox.size,
                effect="the agent ends without: others run the tasks again",
            )
        session.goodbye(HURRY_TIMEOUT_S if self.hurried else GOODBYE_TIMEOUT_S)

    def _close(self, direct_port: DirectPort) -> None:
        self._closing = self._loop.create_task(direct_port.stop())

    def _wait(
        self,
        done: Callable[[], bool],
        timeout_s: float,
        hurried_s: float = 0.0,
        tell: Callable[[float], None] = lambda _left_s: None,
    ) -> bool:
        """Wait until `done`, or until the time is over: sooner after a second `stop`. Returns whether `done`.

        Args:
            tell: called from time to time with the seconds that are left.
        """
        started_at = time.monotonic()
        tell_at = started_at + TELL_LEFT_S
        while not done():
            limit_s = hurried_s if self.hurried else timeout_s
            now = time.monotonic()
            left_s = started_at + limit_s - now
            if left_s <= 0:
                return False
            if now >= tell_at:
                tell(left_s)
                tell_at = now + TELL_LEFT_S
            try:
                event = self._events.get(timeout=min(left_s, tell_at - now))
            except Empty:
                continue
            if event is _Event.STOP:
                self.hurried = True
        return True

    def _post(self, call: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:
            _log.debug("loop.ended")


def _tell_left(parts: ShutdownParts, left_s: float) -> None:
    _log.info(
        "agent.still_draining",
        unfinished=parts.outbox.unfinished(),
        direct_slots=parts.slots.direct,
        grace_left_s=round(left_s, 1),
    )


def _all_ended(parts: ShutdownParts) -> bool:
    return parts.outbox.unfinished() == 0 and parts.slots.direct == parts.slots.overruns.direct_slots


def _may_leave(parts: ShutdownParts) -> bool:
    # A coordinator that does not know of the drain may be sending an assignment now.
    return parts.outbox.size == 0 and parts.session.drain_known
