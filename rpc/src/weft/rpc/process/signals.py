"""The signals that stop a process of weft in order. An operator, a supervisor or a closed terminal sends them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from types import FrameType


def stop_signals() -> Sequence[signal.Signals]:
    """SIGTERM, SIGINT and SIGHUP: each means "stop in order". Without SIGHUP where the process ignores it, as under `nohup`.

    On Windows SIGTERM, SIGINT (Ctrl-C) and SIGBREAK (Ctrl-Break, which supervisors send).
    """
    wanted = [signal.SIGTERM, signal.SIGINT]
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        wanted.append(hangup)
    break_key: signal.Signals | None = getattr(signal, "SIGBREAK", None)
    if break_key is not None:
        wanted.append(break_key)
    return wanted


def handle_stop_signals(loop: asyncio.AbstractEventLoop, handler: Callable[[signal.Signals], None]) -> None:
    """Call the handler on the loop for each stop signal that comes. To be called in the main thread.

    Args:
        loop: that of this thread; with its end the handler is called no more.
    """

    def wake(number: int, _frame: FrameType | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(handler, signal.Signals(number))

    for number in stop_signals():
        try:
            loop.add_signal_handler(number, handler, number)
        except NotImplementedError:
            # The loops of Windows.
            signal.signal(number, wake)


def hurries(number: int) -> bool:
    """Whether this signal, as a second one, asks the process to end at once.

    SIGHUP does not: a closed terminal sends it more than once, and service managers send it after their SIGTERM.
    """
    return number != getattr(signal, "SIGHUP", None)
