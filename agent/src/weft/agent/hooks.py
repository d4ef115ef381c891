"""Hooks: an application's functions at the agent's start, at its end, and in the background.

    on_start, in order ──► direct server, session, background ──► (drain) ──► background ends, on_stop, in reverse order

Async functions run on the agent's event loop, sync ones in threads. Every wait at the end is bounded.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from weft.agent.errors import HookError, HostingError
from weft.agent.handlers.threads import Threads
from weft.agent.hosting.hosted_methods import is_async
from weft.agent.member_hooks import MemberHooks
from weft.agent.process.failure_log import log_raised
from weft.rpc.process.logs import get_logger
from weft.rpc.raised import handler_error, line_of

_log = get_logger("weft.agent")

# Time for background functions to end when the agent stops, and for all on_stop functions together.
BACKGROUND_GRACE_S = 2.0
STOP_TIMEOUT_S = 5.0


class Hook(NamedTuple):
    """One function of the application."""

    kind: str
    function: Callable[..., Any]
    takes_stopping: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind} function {getattr(self.function, '__qualname__', repr(self.function))}"


class Hooks:
    """The functions that an agent was given."""

    def __init__(self) -> None:
        self.start: list[Hook] = []
        self.stop: list[Hook] = []
        self.background: list[Hook] = []
        self.members = MemberHooks()

    def add(self, kind: str, function: Callable[..., Any]) -> None:
        """Keep a function.

        Args:
            kind: "on_start", "on_stop" or "background"; or one of `MemberHooks`.

        Raises:
            HostingError: it takes other arguments, or it yields.
        """
        if kind in ("on_connect", "on_disconnect", "on_message"):
            self.members.add(kind, function)
            return
        hook = Hook(kind, function)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise HostingError(f"the {hook.name} yields: it must be a plain function or `async def`")
        required = [
            each
            for each in inspect.signature(function).parameters.values()
            if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
        may_take_stopping = kind == "background" and not is_async(function)
        if len(required) > int(may_take_stopping):
            allowed = "one argument at most, `stopping`" if may_take_stopping else "no arguments"
            raise HostingError(f"the {hook.name} must take {allowed}")
        getattr(self, kind.removeprefix("on_")).append(Hook(kind, function, bool(required)))


class HookRun:
    """Runs an agent's functions once. On the event loop.

    Args:
        threads: where sync functions run.
    """

    def __init__(self, hooks: Hooks, threads: Threads, loop: asyncio.AbstractEventLoop) -> None:
        self._hooks = hooks
        self._threads = threads
        self._loop = loop
        self._started = False
        self._stopping = threading.Event()
        self._background: dict[asyncio.Future[Any], Hook] = {}

    @property
    def stop_bound_s(self) -> float:
        """How long `stop` takes at most."""
        hooks = self._hooks
        return (BACKGROUND_GRACE_S if hooks.background else 0.0) + (STOP_TIMEOUT_S if hooks.stop else 0.0)

    async def start(self) -> None:
        """Run the on_start functions, one after another.

        Raises:
            HookError: one has raised.
        """
        for hook in self._hooks.start:
            try:
                await self._call(hook)
            except Exception as error:
                log_raised("hook.failed", error, hook=hook.name)
                told = handler_error(error)
                raise HookError(
                    f"the {hook.name} raised {told.type}: {told.message}; the agent has not started"
                ) from error
        self._started = True

    def start_background(self) -> None:
        """Start the background functions."""
        for hook in self._hooks.background:
            running = self._call(hook)
            self._background[running] = hook
            running.add_done_callback(self._background_ended)

    def _background_ended(self, ended: asyncio.Future[Any]) -> None:
        hook = self._background.pop(ended)
        if not ended.cancelled() and (error := ended.exception()) is not None:
            log_raised("hook.failed", error, hook=hook.name, effect="it is not started again")

    async def stop(self, timeout_s: float | None = None) -> None:
        """End the background functions, then run the on_stop functions, the last one first.

        Args:
            timeout_s: for each of the two; None: their own bounds.
        """
        self._stopping.set()
        background = dict(self._background)
        for running in background:
            # A thread ends by itself.
            if isinstance(running, asyncio.Task):
                running.cancel()
        await self._ended(background.items(), BACKGROUND_GRACE_S if timeout_s is None else timeout_s)
        if not self._started:
            return
        until = time.monotonic() + (STOP_TIMEOUT_S if timeout_s is None else timeout_s)
        for hook in reversed(self._hooks.stop):
            running = self._call(hook)
            await self._ended([(running, hook)], until - time.monotonic())
            if running.done() and not running.cancelled() and (error := running.exception()) is not None:
                log_raised("hook.failed", error, hook=hook.name)

    async def _ended(self, running: Iterable[tuple[asyncio.Future[Any], Hook]], timeout_s: float) -> None:
        """Wait for functions to end. A function that does not end in time is left behind."""
        running = list(running)
        if not running:
            return
        await asyncio.wait([future for future, _ in running], timeout=max(0.0, timeout_s))
        for future, hook in running:
            if not future.done():
                future.cancel()
                _log.error("hook.not_ended", hook=hook.name, effect="the agent ends without it")

    def _call(self, hook: Hook) -> asyncio.Future[Any]:
        """Call a function, on the loop or in a thread."""
        if is_async(hook.function):
            return self._loop.create_task(hook.function())
        ended: asyncio.Future[Any] = self._loop.create_future()
        arguments = (self._stopping,) if hook.takes_stopping else ()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                context.run(hook.function, *arguments)
            except BaseException as error:
                self._post(ended, error)
            else:
                self._post(ended, None)

        self._threads.submit(work)
        return ended

    def _post(self, ended: asyncio.Future[Any], error: BaseException | None) -> None:
        def settle() -> None:
            if ended.done():
                return
            if error is None:
                ended.set_result(None)
            elif isinstance(error, Exception):
                ended.set_exception(error)
            else:
                ended.set_exception(RuntimeError(line_of(error)))

        try:
            self._loop.call_soon_threadsafe(settle)
        except RuntimeError:
            _log.debug("hook.ended_after_loop")
