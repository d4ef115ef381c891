"""Where threads and asyncio tasks are: their present calls, outermost first, without values."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from types import CodeType, FrameType
from typing import Any, NamedTuple

# How many awaits of a task are followed, and calls of a thread.
_MAX_CALLS = 1000
# What awaits and does not show what: gRPC's own code, and `async for`.
_HIDING = frozenset({"coroutine_wrapper", "async_generator_asend", "async_generator_athrow"})


class Call(NamedTuple):
    """One call of a stack."""

    frame: FrameType
    line: int

    @property
    def code(self) -> CodeType:
        return self.frame.f_code

    def __str__(self) -> str:
        return f"{self.code.co_filename}:{self.line} in {self.code.co_name}"


def calls_of_thread(innermost: FrameType | None) -> Sequence[Call]:
    """The calls of a thread, by its frame in `sys._current_frames()`."""
    calls: list[Call] = []
    frame = innermost
    while frame is not None and len(calls) < _MAX_CALLS:
        calls.append(Call(frame, frame.f_lineno or 0))
        frame = frame.f_back
    return calls[::-1]


def calls_of_task(task: asyncio.Task[Any]) -> Sequence[Call]:
    """The calls of a task that is suspended. Of one that runs now, the first alone is known."""
    calls: list[Call] = []
    coroutine: Any = task.get_coro()
    while coroutine is not None and len(calls) < _MAX_CALLS:
        # Of a coroutine, of an async generator, or of a generator.
        frame = _first(coroutine, "cr_frame", "ag_frame", "gi_frame")
        if isinstance(frame, FrameType):
            calls.append(Call(frame, frame.f_lineno or 0))
        coroutine = _first(coroutine, "cr_await", "ag_await", "gi_yieldfrom")
        if type(coroutine).__name__ in _HIDING:
            coroutine = next(filter(_goes_on, gc.get_referents(coroutine)), None)
    return calls


def _goes_on(referent: object) -> bool:
    return asyncio.iscoroutine(referent) or hasattr(referent, "ag_frame")


def _first(of: Any, *names: str) -> Any:
    return next((found for name in names if (found := getattr(of, name, None)) is not None), None)
