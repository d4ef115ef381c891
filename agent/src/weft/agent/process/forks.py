"""Fork guard: ends the child of a handler's `os.fork` before the child can act as the agent.

The child is a copy of the agent. It has its parent's event loop and connections, and would answer on them as the agent
does. The guard closes the connections in the child at once. It ends the child when the handler's code gives control
back to the agent: by a return, an exception or an `await`. Until then the child runs the handler's code undisturbed.
Children of subprocess and multiprocessing never give control back; the guard does not touch them.

A trace function, as debuggers use it, notices that control comes back. It costs nothing in processes that do not fork.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from weft.rpc.process import fork_support
from weft.rpc.process.logs import get_logger
from weft.rpc.process.signals import stop_signals

_log = get_logger("weft.agent")

# The modules that call handlers and their callbacks: a child must not return to them.
_CALLERS = (
    "weft.agent.",
    "asyncio.base_events",
    "asyncio.events",
    "asyncio.runners",
    "concurrent.futures.thread",
)
# A child of multiprocessing runs its own function, and ends.
_ENDS_BY_ITSELF = "multiprocessing.popen_"
_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class _ForkGuard(NamedTuple):
    """One agent in this process, or one runner of an agent's isolated handlers."""

    process: int
    # The thread of its event loop.
    thread: int
    let_go: Callable[[], None]


_guards: list[_ForkGuard] = []


@contextlib.contextmanager
def guarded(let_go: Callable[[], None]) -> Iterator[None]:
    """Guard against children of this process while the block runs, on the thread of the agent's event loop.

    Args:
        let_go: called in the child. It closes the agent's connections, and must not wait for a lock.
    """
    guard = _ForkGuard(os.getpid(), threading.get_ident(), let_go)
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)


def is_child() -> bool:
    """Whether this process is a forked child of an agent's process."""
    return any(guard.process != os.getpid() for guard in _guards)


def _before() -> None:
    # The child blocks stop signals until the agent's signal handlers are gone from it.
    if _guards:
        _masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())


def _after() -> None:
    mask = _masks.pop(threading.get_ident(), None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _after_in_parent() -> None:
    _after()
    if _guards and fork_support.is_enabled():
        _warn()


@functools.cache
def _warn() -> None:
    _log.warning(
        "fork.unsafe",
        effect="a handler forks, and gRPC starts its threads in the child, which may end it by SIGABRT",
        do=f"set {fork_support.VARIABLE}=0, or import weft.agent before grpc",
    )


def _after_in_child() -> None:
    if not _guards:
        return
    for guard in _guards:
        # The steps below must run even if this one fails.
        with contextlib.suppress(Exception):
            guard.let_go()
    # A signal to the child must not wake the parent's event loop: the parent would handle it as its own signal.
    signal.set_wakeup_fd(-1)
    _after()
    left = _left_last(sys._getframe().f_back)
    if left is not None:
        left.f_trace = _Watch()
        # Python calls this function for each new frame. `getattr` is the cheapest function that returns None: "do not
        # trace".
        sys.settrace(getattr)


# For each thread that forks: the signals that it had blocked before.
_masks: dict[int, set[int | signal.Signals]] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


def _left_last(frame: FrameType | None) -> FrameType | None:
    """The last frame of the child before it returns to the agent. None if it never returns there."""
    on_loop = threading.get_ident() in {guard.thread for guard in _guards}
    left = None
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(_ENDS_BY_ITSELF):
            return None
        if module.startswith(_CALLERS):
            return left
        left, frame = frame, frame.f_back
        # If no frame on this stack awaits the coroutine, the loop resumes it. The loop may be uvloop's, which has no
        # frames.
        if on_loop and _is_coroutine(left) and not (frame is not None and _is_coroutine(frame)):
            return left
    return None


def _is_coroutine(frame: FrameType) -> bool:
    return bool(frame.f_code.co_flags & _COROUTINE)


class _Watch:
    """A trace function of one frame: ends the process when the frame is left."""

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._exit: SystemExit | None = None

    def __call__(self, _frame: FrameType, event: str, argument: Any) -> _Watch:
        if event == "line":
            # The exception was caught: the frame goes on.
            self._error = None
        elif event == "exception":
            self._error = argument[1]
            if isinstance(self._error, SystemExit):
                self._exit = self._error
        elif event == "return":
            _end(self._error, self._exit)
        return self


def _end(error: BaseException | None, wanted: SystemExit | None) -> None:
    lines = [] if error is None or error is wanted else traceback.format_exception(error)
    status = 1
    if wanted is not None:
        status = wanted.code if isinstance(wanted.code, int) else int(wanted.code is not None)
    lines.append(
        f"weft: process {os.getpid()}, which a handler had forked, came back to the agent and is ended with status"
        f" {status}. A copy of the agent must not go on as the agent: let the child end by os._exit, or use"
        " subprocess, multiprocessing or isolate=True\n"
    )
    # Not through sys.stderr: a thread of the parent may have held its lock at the fork, and does not exist here.
    with contextlib.suppress(OSError):
        os.write(2, "".join(lines).encode(errors="backslashreplace"))
    os._exit(status & 0xFF)
