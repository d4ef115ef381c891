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


class GarbageWatch:
    """Looks at the size of the process, and collects young garbage each time that it has grown.

    Args:
        size: of the process, in bytes.
        collect: gives back what is not used.
    """

    def __init__(
        self,
        size: Callable[[], int] = process_readings.memory,
        collect: Callable[[], None] | None = None,
    ) -> None:
        self._size, self._collect = size, collect or _collect
        self._last = size()

    def look(self) -> None:
        """Collect if it is time to."""
        size = self._size()
        if size - self._last >= max(GROWTH_BYTES, self._last * GROWTH_SHARE):
            self._collect()
            size = self._size()
        elif size > self._last:
            # It grows from here.
            return
        self._last = size

    async def run(self) -> None:
        """Look often, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()


def _collect() -> None:
    # The oldest generation has what stays: tasks, above all. It would take long, and holds no garbage of calls.
    gc.collect(1)
    if sys.platform == "linux":
        _give_back()


def _give_back() -> None:
    """Give freed memory back to the system, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
