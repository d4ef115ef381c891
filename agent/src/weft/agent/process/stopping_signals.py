"""The signals that end an agent's process in order."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from weft.rpc.process.signals import hurries, stop_signals


def stop_on_signals(stop: Callable[[], None]) -> Callable[[], None]:
    """Call `stop` at each signal that ends a process, also while a handler blocks the loop. Returns a function that undoes this."""
    stopping = False

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping or hurries(number):
            stopping = True
            stop()

    previous = {number: signal.signal(number, on_signal) for number in stop_signals()}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    return restore
