"""Looks at sandboxes whose limits no control group holds, and ends those that use more."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import Protocol

import psutil

from weft.agent.sandboxing.sandbox import OWN_PROCESSES, Sandbox
from weft.rpc.process import logs

_log = logs.get_logger("weft.agent")

INTERVAL_S = 0.2
_MEBIBYTE = 1 << 20


class Watched(Protocol):
    """A sandbox that is watched."""

    process_id: int
    sandbox: Sandbox

    def kill(self, why: str = "") -> None: ...


class LimitWatch:
    """One thread for all sandboxes of this process; none while there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: set[Watched] = set()
        self._running_in = 0

    def join(self, process: Watched) -> None:
        """Watch a sandbox until it leaves."""
        with self._lock:
            self._watched.add(process)
            # A forked child has no thread of its parent's.
            if self._running_in != os.getpid():
                self._running_in = os.getpid()
                threading.Thread(target=self._run, name="sandbox-limits", daemon=True).start()

    def leave(self, process: Watched) -> None:
        """Watch it no longer. Harmless if it is not watched."""
        with self._lock:
            self._watched.discard(process)

    def _run(self) -> None:
        while True:
            time.sleep(INTERVAL_S)
            with self._lock:
                watched = list(self._watched)
                if not watched:
                    self._running_in = 0
                    return
            for each in watched:
                if (why := over_limit(each)) is not None:
                    _log.warning("sandbox.over_limit", process_id=each.process_id, reason=why)
                    each.kill(why)


def over_limit(process: Watched) -> str | None:
    """What a sandbox uses more of than it may; None: nothing, or it has ended."""
    with contextlib.suppress(psutil.Error, OSError):
        first = psutil.Process(process.process_id)
        found = [first, *first.children(recursive=True)]
        if len(found) > process.sandbox.max_processes + OWN_PROCESSES:
            return "max_processes"
        used = 0
        for each in found:
            with contextlib.suppress(psutil.Error):
                used += each.memory_info().rss
        if used > process.sandbox.memory_mb * _MEBIBYTE:
            return "memory_mb"
    return None
