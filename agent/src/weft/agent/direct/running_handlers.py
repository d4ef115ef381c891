"""Async handlers of direct calls that run now, and which of them ignore that their call has ended.

gRPC cancels the task of a call that has ended and tells nobody else, until that task ends. So tasks are looked at, while
there are any: one that has been cancelled for longer than its grace has overrun.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from weft.agent.handlers.executor import UNWANTED_GRACE_S

if TYPE_CHECKING:
    from weft.agent.direct.direct_task import DirectAsyncContext
    from weft.agent.handlers.overrun import Overruns
    from weft.agent.hosted_methods import HostedMethod

# A handler is found between this and twice this after its grace.
LOOK_S = 1.0


class _Running:
    __slots__ = ("cancelled_at", "hosted", "task")

    def __init__(self, task: asyncio.Task[Any], hosted: HostedMethod) -> None:
        self.task = task
        self.hosted = hosted
        # When it was first seen to be cancelled, by the event loop's clock; infinite once it is counted.
        self.cancelled_at: float | None = None


class RunningHandlers:
    """Those that run on this event loop."""

    def __init__(self, overruns: Overruns) -> None:
        self._overruns = overruns
        self._running: dict[DirectAsyncContext, _Running] = {}
        self._looking = False

    def begin(self, context: DirectAsyncContext, hosted: HostedMethod) -> None:
        """The current task begins to run a handler."""
        task = asyncio.current_task()
        assert task is not None
        self._running[context] = _Running(task, hosted)
        if not self._looking:
            self._looking = True
            task.get_loop().call_later(LOOK_S, self._look, task.get_loop())

    def end(self, context: DirectAsyncContext) -> None:
        """It has ended."""
        del self._running[context]
        if self._overruns:
            self._overruns.remove(context)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for context, running in self._running.items():
            if not running.task.cancelling():
                continue
            if running.cancelled_at is None:
                running.cancelled_at = now
            elif now - running.cancelled_at >= UNWANTED_GRACE_S:
                running.cancelled_at = float("inf")
                self._count(context, running)
        self._looking = bool(self._running)
        if self._looking:
            loop.call_later(LOOK_S, self._look, loop)

    def _count(self, context: DirectAsyncContext, running: _Running) -> None:
        hosted, task_id = running.hosted, context.assignment.task_id
        self._overruns.add(context, hosted.name, hosted.slot_cost, running.task, task_id=task_id, direct=True)
