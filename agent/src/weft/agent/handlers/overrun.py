"""Overrun handlers: they were told to end, their grace is over, and they still run. Nothing can end a thread, or a
coroutine that goes on after its cancellation. So their slots stay used, by durable attempts and by direct calls.

Each is logged once, with its place in the code. At a limit, if one is set, the agent is told: it ends, to be started
again.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import traceback
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple

from weft.rpc.process.logs import get_logger

_log = get_logger("weft.agent")

# The innermost calls of a blocked handler, in the log.
_CALLS = 3
# How many awaits of a task are followed to find them.
_MAX_AWAITS = 100
# Names of methods that are reported.
MAX_METHODS = 16


class _Overrun(NamedTuple):
    method: str
    slots: int
    direct: bool


class Overruns:
    """The overrun handlers. Changed on the agent's event loop alone, read from any thread.

    Args:
        limit: so many slots are too many. None: no number is.
        on_limit: called, once, when there are too many.
    """

    def __init__(self, limit: int | None = None, on_limit: Callable[[], None] = lambda: None) -> None:
        self._limit = limit
        self._on_limit = on_limit
        self._running: dict[Hashable, _Overrun] = {}
        self._told = False

    @property
    def slots(self) -> int:
        """Slots that they have."""
        return sum(each.slots for each in list(self._running.values()))

    @property
    def direct_slots(self) -> int:
        """Those of direct calls among them."""
        return sum(each.slots for each in list(self._running.values()) if each.direct)

    @property
    def methods(self) -> list[str]:
        """Full names of their methods, up to a number."""
        return sorted({each.method for each in list(self._running.values())})[:MAX_METHODS]

    def add(
        self,
        key: Hashable,
        method: str,
        slots: int,
        runs_in: int | asyncio.Task[Any],
        *,
        facts: Mapping[str, str | int],
        direct: bool,
    ) -> None:
        """Add a handler that did not end in its grace.

        Args:
            key: tells it from others.
            runs_in: identifier of its thread, or its asyncio task.
            facts: for the log: its task, attempt, method and agent.
        """
        self._running[key] = _Overrun(method, slots, direct)
        thread = runs_in if isinstance(runs_in, int) else threading.get_ident()
        _log.warning(
            "handler.overrun",
            **facts,
            direct=direct,
            slots=self.slots,
            thread=thread,
            place=_place(thread) if isinstance(runs_in, int) else _place_of_task(runs_in),
            effect="it ignored its cancellation: its slots stay taken until it ends",
            do="let it look at its cancellation, or run it with isolate=True, where it can be killed",
        )
        if self._limit is not None and not self._told and self.slots >= self._limit:
            self._told = True
            self._on_limit()

    def remove(self, key: Hashable) -> None:
        """Remove a handler that has ended. Harmless if it was not overrun."""
        self._running.pop(key, None)

    def __bool__(self) -> bool:
        return bool(self._running)


def _place(thread: int) -> str:
    """The present place of a thread: its innermost calls, the last one last."""
    frame = sys._current_frames().get(thread)
    return _told(traceback.extract_stack(frame) if frame is not None else [])


def _place_of_task(task: asyncio.Task[Any]) -> str:
    """The same for an asyncio task, which is suspended."""
    frames: list[tuple[FrameType, int]] = []
    coroutine: Any = task.get_coro()
    while coroutine is not None and len(frames) < _MAX_AWAITS:
        # Of a coroutine, of an async generator, or of a generator.
        frame = _first(coroutine, "cr_frame", "ag_frame", "gi_frame")
        if isinstance(frame, FrameType):
            frames.append((frame, frame.f_lineno))
        coroutine = _first(coroutine, "cr_await", "ag_await", "gi_yieldfrom")
        if type(coroutine).__name__ == "coroutine_wrapper":
            # gRPC's own code awaits here, and does not show the rest.
            coroutine = next(filter(asyncio.iscoroutine, gc.get_referents(coroutine)), None)
    return _told(traceback.StackSummary.extract(iter(frames)))


def _first(of: Any, *names: str) -> Any:
    return next((found for name in names if (found := getattr(of, name, None)) is not None), None)


def _told(calls: Sequence[traceback.FrameSummary]) -> str:
    return ", ".join(f"{call.filename}:{call.lineno} in {call.name}" for call in calls[-_CALLS:])
