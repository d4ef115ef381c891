"""The event loop of an agent that owns its process, and of isolated handlers: a handler cannot stop it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from weft.agent.process.failure_log import log_raised
from weft.rpc.process.logs import get_logger

_log = get_logger("weft.agent")

# Time for the tasks that are left on the loop at the agent's end, after they were cancelled.
CLOSE_TIMEOUT_S = 1.0

T = TypeVar("T")


def warn_as_first_process() -> None:
    """Say what is wrong if this program is process 1."""
    if os.getpid() == 1:
        _log.warning(
            "agent.orphans_not_reaped",
            effect="this program is process 1: processes that its handlers leave behind stay as zombies",
            do="start it by `weft agent`, or under an init, such as that of `docker run --init`",
        )


def run_to_end(loop: asyncio.AbstractEventLoop, main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on the loop until it ends. Returns its result, or raises its exception.

    A KeyboardInterrupt or a SystemExit of any task or callback stops a loop, and so does `stop()`. If a handler left
    that task or callback, the loop is started again.
    """
    task = loop.create_task(main)
    while True:
        try:
            return loop.run_until_complete(task)
        except BaseException as error:
            if task.done():
                return task.result()
            if loop.is_closed() or is_interrupt(error):
                task.cancel()
                raise
            log_raised("loop.stop_ignored", error)


def is_interrupt(error: BaseException) -> bool:
    """Whether an exception comes from an unhandled SIGINT, and not from a handler's own `raise`."""
    # By `type()`: an exception may claim another class by `__class__`.
    if not issubclass(type(error), KeyboardInterrupt):
        return False
    if threading.current_thread() is not threading.main_thread():
        return False
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        return True
    # `asyncio.run` raises it from its own signal handler, when SIGINT has come twice.
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    runners = sys.modules.get("asyncio.runners")
    return trace is not None and runners is not None and trace.tb_frame.f_code.co_filename == runners.__file__


def close(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop, with the tasks that handlers left on it. Unlike `asyncio.Runner`, bounded: a task that ignores
    its cancellation must not delay the end."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        run_to_end(loop, _ended(left))
    run_to_end(loop, asyncio.wait_for(loop.shutdown_asyncgens(), CLOSE_TIMEOUT_S))
    loop.close()


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)
