"""Steady output: a write to it never waits and never fails.

A log may be on a full disk, or in a pipe that nobody reads any more. Data that can be written at once is written at once. The
rest goes into a bounded queue, from which a thread writes. If the queue is full or the descriptor fails, data is dropped and
counted. When writing works again, a notice tells the count.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import select
import stat
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import TextIO

MAX_QUEUED_BYTES = 1024 * 1024
# At the end of the process, the queue is written for so long at most.
END_TIMEOUT_S = 1.0


class SteadyWriter:
    """Writes to a descriptor.

    Args:
        descriptor: the descriptor. It may be closed, and may be reopened on another file.
        notice: makes the notice that is written when writing works again, from the number of lost writes.

    Attributes:
        lost: writes that were lost.
    """

    def __init__(self, descriptor: int, notice: Callable[[int], bytes] | None = None) -> None:
        self.descriptor = descriptor
        self.notice = notice
        self._non_blocking = _NonBlockingWriter(descriptor)
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        # The thread has taken data from the queue, and has not written it yet.
        self._writing = False
        # The first in the queue is the rest of a write that has begun: nothing may come before it.
        self._begun = False
        self._thread: threading.Thread | None = None
        # Lost writes that no notice has told of, and all.
        self._lost = self.lost = 0

    def write(self, data: bytes) -> None:
        """Write the data now, queue it, or drop it."""
        with self._changed:
            if not self._queue and not self._writing:
                if self._lost and self.notice is not None:
                    data = self.notice(self._lost) + data
                try:
                    written = self._non_blocking.write(data)
                except OSError:
                    self._lose()
                    return
                data, self._begun = data[written:], 0 < written < len(data)
                self._lost = 0
            if not data:
                return
            if self._queue and self._queued_bytes + len(data) > MAX_QUEUED_BYTES:
                self._lose()
                return
            self._queue.append(data)
            self._queued_bytes += len(data)
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Wait until all data is written or lost. Returns False if that takes longer than `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._writing, timeout_s)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="weft-output", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The system has no more threads now, or the interpreter is ending.
            self._lose(len(self._queue))
            self._queue.clear()
            self._queued_bytes, self._begun = 0, False
        else:
            self._thread = thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._queue))
                data = list(self._queue)
                self._queue.clear()
                self._queued_bytes = 0
                self._writing = True
                lost, self._lost = self._lost, 0
                begun, self._begun = self._begun, False
            lost = self._write(data, lost, begun=begun)
            with self._changed:
                self._writing = False
                self._lost += lost
                self._changed.notify_all()

    def _write(self, data: list[bytes], lost: int, *, begun: bool) -> int:
        """Write each item. Returns the number of lost writes that no notice has told of.

        Args:
            begun: the first item is the rest of a write, before which there may be no notice.
        """
        for number, each in enumerate(data):
            try:
                if lost and self.notice is not None and not (begun and number == 0):
                    write_all(self.descriptor, self.notice(lost))
                    lost = 0
                write_all(self.descriptor, each)
            except Exception:
                # After any error, the next write may work.
                lost += 1
                self.lost += 1
        return lost

    def _lose(self, writes: int = 1) -> None:
        self._lost += writes
        self.lost += writes


class _NonBlockingWriter:
    """Writes to a descriptor as much as is possible without waiting.

    Other processes may share a pipe or a terminal, and may rely on its blocking writes. So it is opened once more, non-blocking.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # The file (device and inode) that the descriptor led to at the last look, and the own descriptor that writes to it
        # without waiting. None: that is not possible.
        self._file: tuple[int, int] | None = None
        self._own: int | None = None

    def write(self, data: bytes) -> int:
        """Write as much as is possible. Returns the number of bytes written.

        Raises:
            OSError: the descriptor cannot be written.
        """
        status = os.fstat(self._descriptor)
        if self._file != (status.st_dev, status.st_ino):
            self._open(status)
        if self._own is None:
            return 0
        try:
            return os.write(self._own, data)
        except BlockingIOError:
            return 0

    def _open(self, status: os.stat_result) -> None:
        if self._own is not None and self._own != self._descriptor:
            os.close(self._own)
        self._own = None
        self._file = (status.st_dev, status.st_ino)
        if stat.S_ISREG(status.st_mode):
            # A regular file has no reader to wait for.
            self._own = self._descriptor
            return
        # This fails for sockets, for pipes without a reader, and on systems without /proc.
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            self._own = os.open(f"/proc/self/fd/{self._descriptor}", flags)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all data. Waits also if the descriptor is non-blocking.

    Raises:
        OSError: the descriptor cannot be written.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            # Another process that shares the descriptor made it non-blocking.
            select.select([], [descriptor], [])


class _SteadyRaw(io.RawIOBase):
    """A `SteadyWriter` as a raw stream."""

    def __init__(self, writer: SteadyWriter) -> None:
        super().__init__()
        self._writer = writer

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        copied = bytes(memoryview(data))  # type: ignore[arg-type]
        self._writer.write(copied)
        return len(copied)

    def fileno(self) -> int:
        return self._writer.descriptor

    def isatty(self) -> bool:
        try:
            return os.isatty(self._writer.descriptor)
        except OSError:
            return False

    def close(self) -> None:
        """Do nothing: the descriptor is the process' own, and others go on writing to it."""


def steady_stream(writer: SteadyWriter, before: TextIO | None) -> TextIO:
    """A text stream on a writer, with the encoding of the stream `before` it. Characters that the encoding lacks are escaped."""
    encoding = getattr(before, "encoding", None) or "utf-8"
    return io.TextIOWrapper(_SteadyRaw(writer), encoding, errors="backslashreplace", line_buffering=True)  # type: ignore[type-var]


@cache
def make_steady() -> SteadyWriter:
    """Replace `sys.stdout` and `sys.stderr` by steady streams. Returns the writer of standard error.

    Works once a process. Only weft's own processes call it: there, the prints of handlers, libraries and Python itself must
    not block or end anything.
    """
    error = SteadyWriter(2)
    # If both lead to the same file, one writer keeps the order of writes.
    output = error if _same_file(1, 2) else SteadyWriter(1)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    sys.stdout = steady_stream(output, sys.stdout)
    sys.stderr = steady_stream(error, sys.stderr)
    return error


def drain(timeout_s: float = END_TIMEOUT_S) -> None:
    """Wait until queued data is written. Call it before the process ends in a way that skips Python's exit functions."""
    for writer in list(_writers):
        writer.drain(timeout_s)


def lost_writes() -> int:
    """Writes of this process that were lost, to all its writers."""
    return sum(writer.lost for writer in list(_writers))


def _same_file(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False


def _after_fork() -> None:
    """Reset the writers in a forked child: the parent writes its own queue, and its threads do not exist in the child."""
    for writer in list(_writers):
        writer._reset()


_writers: weakref.WeakSet[SteadyWriter] = weakref.WeakSet()
atexit.register(drain)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
