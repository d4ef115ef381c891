"""Items that pass between a thread and an event loop: an asynchronous generator read by a thread, and an iterable of a thread
read by the loop. Both sides are bounded."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Generic, TypeVar

T = TypeVar("T")

# Most items that are read ahead.
AHEAD_ITEMS = 64


class Iteration(Generic[T]):
    """An asynchronous generator as an iterator for one thread: `pump` runs on the loop, the iteration in the thread.

    Args:
        items: the generator.
        soon: calls a function on the loop.
    """

    def __init__(self, items: AsyncGenerator[T], soon: Callable[[Callable[[], object]], None]) -> None:
        self._source = items
        self._soon = soon
        self._changed = threading.Condition()
        self._ready: deque[T] = deque()
        self._full = False
        self._room = asyncio.Event()
        self._ended = False
        self._error: BaseException | None = None

    async def pump(self) -> None:
        """Read the generator, up to `AHEAD_ITEMS` ahead, and close it in the end."""
        try:
            async with aclosing(self._source) as items:
                async for item in items:
                    with self._changed:
                        self._ready.append(item)
                        self._changed.notify()
                        self._full = len(self._ready) >= AHEAD_ITEMS
                        self._room.clear()
                    if self._full:
                        await self._room.wait()
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception):
                raise
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._ended)
                if not self._ready:
                    break
                item = self._ready.popleft()
                if self._full and len(self._ready) <= AHEAD_ITEMS // 2:
                    self._full = False
                    self._soon(self._room.set)
            yield item
        error, self._error = self._error, None
        if error is not None:
            raise error

    def wait_closed(self, timeout_s: float) -> None:
        """Wait until the generator is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, timeout_s)


class Feed(Generic[T]):
    """A thread's iterable as an asynchronous iterator. A thread of its own reads it, because `next` may block.

    Args:
        items: the iterable.
        soon: calls a function on the loop.
    """

    def __init__(self, items: Iterable[T], soon: Callable[[Callable[[], object]], None]) -> None:
        self._items = items
        self._soon = soon
        self._read_ahead: deque[T] = deque()
        self._room = threading.Semaphore(AHEAD_ITEMS)
        self._news = asyncio.Event()
        self._ended = False
        self._stopped = False
        self._error: Exception | None = None
        # The iterable's code runs in the caller's context.
        self._context = contextvars.copy_context()

    def __aiter__(self) -> AsyncGenerator[T]:
        return self._drain()

    async def _drain(self) -> AsyncGenerator[T]:
        threading.Thread(
            target=self._context.run, args=(self._read_all,), name="weft.client.sync requests", daemon=True
        ).start()
        try:
            while True:
                self._news.clear()
                while self._read_ahead:
                    item = self._read_ahead.popleft()
                    self._room.release()
                    yield item
                if self._ended and not self._read_ahead:
                    break
                await self._news.wait()
            if self._error is not None:
                raise self._error
        finally:
            self._stopped = True
            self._room.release()

    def _read_all(self) -> None:
        try:
            for item in self._items:
                self._room.acquire()
                if self._stopped:
                    return
                self._read_ahead.append(item)
                self._soon(self._news.set)
        except Exception as error:  # raised to the reader, after the earlier items
            self._error = error
        finally:
            self._ended = True
            self._soon(self._news.set)
