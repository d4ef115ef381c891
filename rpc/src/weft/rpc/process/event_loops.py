"""The event loops of weft's own processes: uvloop's where it is installed, else asyncio's. On Windows there is no uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A new event loop, which runs nothing yet."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a new event loop until it ends. Returns its result, or raises its exception."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
