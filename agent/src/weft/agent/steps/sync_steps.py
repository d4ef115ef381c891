"""The steps of a plain `def` handler: the same as those of `current_task()`, for its thread. Their work is done on the loop of the client."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol, TypeVar

from weft.agent.steps.attempt_steps import AttemptSteps

T = TypeVar("T")


class Loop(Protocol):
    """An event loop in another thread."""

    def run(self, start: Callable[[], Awaitable[T]]) -> T:
        """Run a coroutine there, and wait for it."""
        ...


class SyncSteps:
    """Steps of a handler in a thread; `current_task().sync_steps` gives it."""

    def __init__(self, steps: AttemptSteps, loop: Loop) -> None:
        self._steps = steps
        self._loop = loop

    def step(self, name: str, function: Callable[[], T]) -> T:
        """As `RunningTask.step`; the function runs in this thread."""
        taking = self._steps.taking(name)
        taken = self._loop.run(taking.__aenter__)
        if taken.known:
            value: T = taken.value
            self._loop.run(lambda: taking.__aexit__(None, None, None))
            return value
        try:
            taken.value = function()
        except BaseException as error:
            # Kept: the name `error` ends with this block.
            failure = error
            self._loop.run(lambda: taking.__aexit__(type(failure), failure, failure.__traceback__))
            raise
        self._loop.run(lambda: taking.__aexit__(None, None, None))
        recorded: T = taken.value
        return recorded

    def sleep(self, seconds: float) -> None:
        """As `RunningTask.sleep`."""
        self._loop.run(lambda: self._steps.sleep(seconds))

    def now(self) -> datetime:
        """As `RunningTask.now`."""
        return datetime.fromtimestamp(self.step("now", time.time), UTC)

    def random(self) -> float:
        """As `RunningTask.random`."""
        return self.step("random", random.random)

    def wait_signal(self, name: str, timeout_s: float | None = None) -> object:
        """As `RunningTask.wait_signal`."""
        return self._loop.run(lambda: self._steps.wait_signal(name, timeout_s))
