"""Overrun handlers: they were told to end, their grace is over, and they still run. Nothing can end a thread, or a
coroutine that goes on after its cancellation. So their slots stay used, by durable attempts and by direct calls.

Each is logged once, with its place in the code. At a limit, if one is set, the agent is told: it ends, to be started
again.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from weft.agent.handlers.call_stacks import calls_of_task, calls_of_thread
from weft.rpc.process.logs import get_logger

_log = get_logger("weft.agent")

# The innermost calls of a blocked handler, in the log.
_CALLS = 3
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
            place=_place(runs_in),
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


def _place(runs_in: int | asyncio.Task[Any]) -> str:
    """The present place of a thread, or of an asyncio task, which is suspended: its innermost calls, the last one last."""
    if isinstance(runs_in, int):
        calls = calls_of_thread(sys._current_frames().get(runs_in))
    else:
        calls = calls_of_task(runs_in)
    return ", ".join(map(str, calls[-_CALLS:]))
