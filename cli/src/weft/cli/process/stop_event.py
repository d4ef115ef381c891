"""The stop of a command that runs until it is told to end."""

from __future__ import annotations

import asyncio
import os

from weft.rpc.process.signals import handle_stop_signals, hurries


def stop_event() -> asyncio.Event:
    """An event that the first signal sets that asks the process to stop. A second one ends it at once. To be called in the main thread, on the loop."""
    stop = asyncio.Event()

    def signalled(number: int) -> None:
        if stop.is_set() and hurries(number):
            os._exit(1)
        stop.set()

    handle_stop_signals(asyncio.get_running_loop(), signalled)
    return stop
