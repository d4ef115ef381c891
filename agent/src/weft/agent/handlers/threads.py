"""Daemon threads that run blocking jobs: as many as there are jobs, kept for the next ones.

Not `ThreadPoolExecutor`: its threads delay the end of the process, and a handler that ignores its cancellation must
not. How many jobs there can be is bounded by the agent's slots.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from weft.agent.process.failure_log import log_raised


class Threads:
    """A pool of worker threads. `submit` never blocks."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        # Threads that wait, less the jobs that wait for them.
        self._idle = 0
        self._count = 0
        self._closed = False

    def submit(self, job: Callable[[], None]) -> None:
        with self._lock:
            if self._closed:
                return
            if self._idle > 0:
                self._idle -= 1
            else:
                try:
                    self._start()
                except RuntimeError as error:
                    # The system has no thread left: the job waits for a busy thread, or for the next one.
                    self._idle -= 1
                    log_raised("thread.not_started", error)
        self._jobs.put(job)

    def _start(self) -> None:
        name = f"{self._name}-{self._count + 1}"
        threading.Thread(target=self._work, name=name, daemon=True).start()
        self._count += 1

    def close(self) -> None:
        """End the threads, each after its job; does not wait for them."""
        with self._lock:
            self._closed = True
            for _ in range(self._count):
                self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except BaseException as error:
                # Jobs handle their own exceptions: this one is a fault of weft.
                log_raised("thread.job_failed", error)
            # A waiting thread must not keep the last job's payload alive.
            del job
            with self._lock:
                self._idle += 1
