"""Collects garbage when the process has grown, not only when many objects were made.

gRPC leaves the metadata of each call, up to a MiB, in a cycle of few objects. With the collector's usual counts, a peer that sends large
metadata in refused calls would make a coordinator hold gigabytes of it. So the size counts, too.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections.abc import Callable

from weft.rpc.process import process_readings

LOOK_S = 0.25
GROWTH_BYTES = 64 * 1024 * 1024
# A large process may grow by this part of its size, since to collect costs more there.
GROWTH_SHARE = 1 / 8


# Freed memory goes back to the system when nothing was collected for so many looks: it takes tens of milliseconds, and a flood that goes on
# takes the same memory again.
CALM_LOOKS = 8


class GarbageWatch:
    """Looks at the size of the process, and collects young garbage each time that it has grown.

    Args:
        size: of the process, in bytes.
        collect: collects garbage.
        give_back: gives freed memory back to the system.
    """

    def __init__(
        self,
        size: Callable[[], int] = process_readings.memory,
        collect: Callable[[], None] | None = None,
        give_back: Callable[[], None] | None = None,
    ) -> None:
        self._size = size
        self._collect, self._give_back = collect or _collect, give_back or _give_back
        self._last = size()
        # Looks since the last collection whose memory is not given back yet. None: there is none.
        self._calm: int | None = None

    def look(self) -> None:
        """Collect, or give back, if it is time to."""
        size = self._size()
        if size - self._last >= max(GROWTH_BYTES, self._last * GROWTH_SHARE):
            self._collect()
            self._last, self._calm = self._size(), 0
            return
        # Less than before: it grows from here.
        self._last = min(size, self._last)
        if self._calm is None:
            return
        self._calm += 1
        if self._calm == CALM_LOOKS:
            self._calm = None
            self._give_back()
            self._last = self._size()

    async def run(self) -> None:
        """Look often, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()


def _collect() -> None:
    # The oldest generation has what stays: tasks, above all. It would take long, and holds no garbage of calls.
    gc.collect(1)


def _give_back() -> None:
    """Give freed memory back to the system, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
