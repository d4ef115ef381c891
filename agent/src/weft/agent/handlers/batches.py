"""Collects calls into batches: calls that come close together are one call of a function of lists.

    call ─► waiting ── max_size reached, or wait_s passed ──► running ─► each call gets its own response or exception
              └ left: taken out                                └ all left: cancelled

A batch runs outside its calls: it belongs to several. Each call keeps its slots, its deadline and its cancellation.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from weft.agent.process.event_loop import is_interrupt

MAX_SIZE = 10_000
MAX_WAIT_S = 60.0

Req = TypeVar("Req")
Resp = TypeVar("Resp")


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """How calls are collected: `@agent.method(name, batch=Batch(max_size=32, wait_s=0.02))`.

    Args:
        max_size: most requests of a batch: with the last one, it runs at once. 1 to 10,000. Each call takes its slots: an agent with fewer
            slots never has as many.
        wait_s: how long the first request of a batch waits for others, in seconds: 0 to 60. With 0, only those that are there at the same moment
            are taken.

    Raises:
        ValueError: a value is none of these.
    """

    max_size: int = 32
    wait_s: float = 0.02

    def __post_init__(self) -> None:
        if not 1 <= self.max_size <= MAX_SIZE:
            raise ValueError(f"Batch.max_size must be 1 to {MAX_SIZE}, not {self.max_size!r}")
        if not 0 <= self.wait_s <= MAX_WAIT_S:
            raise ValueError(f"Batch.wait_s must be 0 to {MAX_WAIT_S:g} seconds, not {self.wait_s!r}")


class BatchError(RuntimeError):
    """A function of batches has returned something else than a response for each request."""


Run = Callable[[list[Req]], Awaitable[Sequence[Resp | Exception]] | Sequence[Resp | Exception]]


class BatchQueue(Generic[Req, Resp]):
    """The waiting and running calls of one function. For one event loop at a time.

    Args:
        function: takes the requests, and gives a response or an exception for each, in the same order. `async def`, or plain: then it runs in a
            thread. If it raises, each of its calls does.
    """

    def __init__(self, function: Run[Req, Resp], batch: Batch) -> None:
        self._function = function
        self._batch = batch
        self._waiting: list[tuple[Req, asyncio.Future[Resp]]] = []
        self._timer: asyncio.TimerHandle | None = None
        # A task that nobody holds may be collected while it runs.
        self._running: set[asyncio.Task[None]] = set()

    async def call(self, request: Req) -> Resp:
        """Be one request of a batch, and get its response.

        Raises:
            Exception: the one that the function gave for it, or raised.
            BatchError: the function gave no response for it, or raised what ends programs, such as SystemExit.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Resp] = loop.create_future()
        self._waiting.append((request, future))
        if len(self._waiting) >= self._batch.max_size:
            self._start()
        elif len(self._waiting) == 1:
            self._timer = loop.call_later(self._batch.wait_s, self._start)
        try:
            return await future
        finally:
            if future.cancelled():
                self._leave(future)

    def _leave(self, future: asyncio.Future[Resp]) -> None:
        """Take a cancelled call out of those that wait."""
        self._waiting = [pair for pair in self._waiting if pair[1] is not future]
        if not self._waiting:
            self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        """Run what waits."""
        self._stop_timer()
        calls, self._waiting = self._waiting, []
        # Outside any call: `current_task()` would be one of many.
        task = asyncio.get_running_loop().create_task(self._run(calls), context=contextvars.Context())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        left = len(calls)

        def leave(future: asyncio.Future[Resp]) -> None:
            nonlocal left
            left -= 1
            if not left and future.cancelled():
                task.cancel()

        for _, future in calls:
            future.add_done_callback(leave)

    async def _run(self, calls: list[tuple[Req, asyncio.Future[Resp]]]) -> None:
        try:
            results = await self._results([request for request, _ in calls])
        except asyncio.CancelledError:
            # By us: nobody waits. By itself: that is no answer.
            self._fail(calls, BatchError("the function of batches cancelled itself"))
        except BaseException as error:
            # Every BaseException, as of other handlers: else its calls would have no end, and a SystemExit would stop the loop.
            self._fail(calls, error)
            if is_interrupt(error):
                raise
        else:
            for (_, future), result in zip(calls, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, BaseException):
                    future.set_exception(_raisable(result))
                else:
                    future.set_result(result)

    async def _results(self, requests: list[Req]) -> Sequence[Resp | Exception]:
        found: Any
        if inspect.iscoroutinefunction(self._function):
            found = await self._function(requests)
        else:
            found = await asyncio.to_thread(self._in_thread, requests)
            if inspect.isawaitable(found):
                found = await found
        if not isinstance(found, (list, tuple)):
            raise BatchError(
                f"the function of batches returned {type(found).__name__}: it must return a list, with a response or an exception for each request"
            )
        if len(found) != len(requests):
            raise BatchError(
                f"the function of batches returned {len(found)} responses for {len(requests)} requests"
            )
        return found

    def _in_thread(self, requests: list[Req]) -> object:
        try:
            return self._function(requests)
        except StopIteration as error:
            # asyncio's futures cannot have it: nobody would be told.
            raise _raisable(error) from error

    @staticmethod
    def _fail(calls: list[tuple[Req, asyncio.Future[Resp]]], error: BaseException) -> None:
        for _, future in calls:
            if not future.done():
                future.set_exception(_raisable(error))


def _raisable(error: BaseException) -> Exception:
    """The exception, as a future can have it, and a call raise it."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    made = BatchError(f"the function of batches gave {type(error).__name__}")
    made.__cause__ = error
    return made
