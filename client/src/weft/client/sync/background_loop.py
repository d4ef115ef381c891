"""The event loop behind `weft.client.sync`: one thread a process, in which the asyncio client does the work.

Callers' threads wait for it. It starts with the first `connect`, and ends with the interpreter, after the meshes that
are still open. Like gRPC, it does not survive a fork: a child that uses it gets an error.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import suppress
from typing import Any, ClassVar, Protocol, TypeVar

from weft.client.sync.iteration import Feed, Iteration
from weft.rpc.errors import FailedPrecondition
from weft.rpc.process.home_loop import MeshClosed

T = TypeVar("T")


class Closable(Protocol):
    async def close(self) -> None: ...


Opened = TypeVar("Opened", bound=Closable)

# Time limits at the interpreter's end: for each mesh, then for the thread.
_END_S = 2.0


class WrongProcess(FailedPrecondition):
    """An object was made before a fork, and used in the child."""


class WrongThread(FailedPrecondition):
    """The library was used in its own thread, which would wait for itself."""


class InterpreterEnds(FailedPrecondition):
    """The library was used while the interpreter was ending."""


class BackgroundLoop:
    """An event loop in a thread of its own.

    Large because each way in (a wait, a call, an iterator) needs the same checks: of the process, the thread and the end.
    """

    _shared: ClassVar[BackgroundLoop | None] = None
    _making: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._live, name="weft.client.sync", daemon=True)
        self._ended = False
        self._open: weakref.WeakSet[Closable] = weakref.WeakSet()
        self._thread.start()
        atexit.register(self._end)

    @classmethod
    def shared(cls) -> BackgroundLoop:
        """The loop of this process.

        Raises:
            WrongProcess: its parent had one, and forked.
        """
        with cls._making:
            if cls._shared is None:
                cls._shared = cls()
            cls._shared.check()
            return cls._shared

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> BackgroundLoop:
        """Use an event loop that already runs in this thread. Its owner ends it."""
        made = cls.__new__(cls)
        made._pid = os.getpid()
        made._loop = loop
        made._thread = thread
        made._ended = False
        made._open = weakref.WeakSet()
        return made

    @property
    def here(self) -> bool:
        """Whether the loop belongs to this process and has not ended."""
        return self._pid == os.getpid() and not self._ended

    @property
    def inside(self) -> bool:
        """Whether this is the loop's own thread."""
        return threading.current_thread() is self._thread

    def check(self) -> None:
        """
        Raises:
            WrongProcess: this is a child of its process.
            WrongThread: this is its own thread.
            FailedPrecondition: the interpreter is ending.
        """
        if self._pid != os.getpid():
            raise WrongProcess(
                f"weft.client.sync was used in process {self._pid}, which then forked this one: gRPC does not work in such a"
                " child. Start children with multiprocessing's 'spawn' or 'forkserver', or connect only after the fork",
            )
        if self.inside:
            raise WrongThread(
                "weft.client.sync was used in one of its own callbacks (request_id, stored, add_done_callback), which"
                " would wait for itself: only record the event there, and call the library in a thread of your own",
            )
        if self._ended:
            raise InterpreterEnds("the interpreter is ending: weft.client.sync takes no more calls")

    def feed(self, items: Iterable[T]) -> Feed[T]:
        """Make an iterable of the caller's readable for the loop. A thread reads the iterable."""
        return Feed(items, self.soon)

    def run(self, start: Callable[[], Awaitable[T]]) -> T:
        """Run the coroutine of `start` on the loop, and wait for it in this thread. An interrupt of this thread cancels
        it.

        Raises:
            MeshClosed: the mesh was closed meanwhile.
        """
        # In a copy of the caller's context: a handler's calls inherit its call context.
        future = self.start(start)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise MeshClosed("the mesh was closed while this call waited") from None
        finally:
            # Only after an interrupt of this thread is the future not done.
            future.cancel()

    def start(self, start: Callable[[], Awaitable[T]]) -> concurrent.futures.Future[T]:
        """Run the coroutine of `start` on the loop, without waiting for it."""
        self.check()
        return asyncio.run_coroutine_threadsafe(_awaited(start), self._loop)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function on the loop. The function must not wait."""

        async def called() -> T:
            return function()

        return self.run(called)

    def soon(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function on the loop, later. From any thread, also the loop's own. Does nothing if the loop has
        ended."""
        if self.here:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function, *arguments)

    def iterate(self, start: Callable[[], AsyncGenerator[T]]) -> Generator[T]:
        """The items of an asynchronous generator, which runs on the loop some items ahead."""
        self.check()
        # Made at once, so that wrong arguments raise here, and not at the first item.
        return self._iterate(self.call(start))

    def _iterate(self, items: AsyncGenerator[T]) -> Generator[T]:
        iteration = Iteration(items, self.soon)
        pump = self.start(iteration.pump)
        try:
            yield from iteration
        except asyncio.CancelledError:
            raise MeshClosed("the mesh was closed while this iterator waited") from None
        finally:
            if self.here:
                pump.cancel()
                if not self.inside:  # The garbage collector may run in the loop's thread.
                    iteration.wait_closed(_END_S)

    def opened(self, mesh: Opened) -> Opened:
        """Close this at the interpreter's end, if it still exists then."""
        self._open.add(mesh)
        return mesh

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _end(self) -> None:
        if not self.here:
            return
        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._close_all(), self._loop).result(_END_S)
        self._ended = True
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_END_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _close_all(self) -> None:
        await asyncio.gather(*(each.close() for each in tuple(self._open)), return_exceptions=True)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


async def _awaited(start: Callable[[], Awaitable[T]]) -> T:
    return await start()


def _renew_lock() -> None:
    """Make a new lock in a forked child: the parent may have held the old one."""
    BackgroundLoop._making = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
