"""Output that its writers need not care about: they never wait for it, and it never fails them.

A log may end up on a full disk, in a pipe that nobody reads any more, or nowhere. What can be written at once is; what would
have to wait goes into a bounded queue, from which a thread writes. What has no room there, and what the descriptor refuses,
is dropped and counted; when writing works again, the count is told.
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
# At the end of the process, what is queued gets so long.
END_TIMEOUT_S = 1.0


class SteadyWriter:
    """Writes to a descriptor.

    Args:
        descriptor: where to; it may be closed, and may lead elsewhere later.
        notice: what to write when writing works again, given how many writes were lost.
    """

    def __init__(self, descriptor: int, notice: Callable[[int], bytes] | None = None) -> None:
        self.descriptor = descriptor
        self.notice = notice
        self._quick = _QuickWay(descriptor)
        self._reset()
        _writers.add(self)

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        # The thread has taken something and not written it yet.
        self._writing = False
        self._thread: threading.Thread | None = None
        # Writes that were lost and not told of.
        self._lost = 0

    def write(self, data: bytes) -> None:
        """Write it now, or soon, or lose it."""
        with self._changed:
            if not self._queue and not self._writing:
                if self._lost and self.notice is not None:
                    data = self.notice(self._lost) + data
                try:
                    data = data[self._quick.write(data) :]
                except OSError:
                    self._lost += 1
                    return
                self._lost = 0
            if not data:
                return
            if self._queue and self._queued_bytes + len(data) > MAX_QUEUED_BYTES:
                self._lost += 1
                return
            self._queue.append(data)
            self._queued_bytes += len(data)
            if self._thread is None:
                self._start()
            self._changed.notify_all()

    def drain(self, timeout_s: float) -> bool:
        """Wait until all is written or lost; false: it took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._writing, timeout_s)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="weft-output", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No more threads now, or the interpreter is ending.
            self._lost += len(self._queue)
            self._queue.clear()
            self._queued_bytes = 0
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
            lost = self._write(data, lost)
            with self._changed:
                self._writing = False
                self._lost += lost
                self._changed.notify_all()

    def _write(self, data: list[bytes], lost: int) -> int:
        """Write, one after another; gives how many were lost and are not told of."""
        for each in data:
            try:
                if lost and self.notice is not None:
                    write_all(self.descriptor, self.notice(lost))
                    lost = 0
                write_all(self.descriptor, each)
            except Exception:
                # Whatever it is, the next write may work.
                lost += 1
        return lost


class _QuickWay:
    """Writes to a descriptor as much as can be written without waiting.

    A pipe or a terminal is shared with others, who may rely on it to wait. So it is opened a second time for that.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # What the descriptor led to when it was last looked at, and by which one that is written without waiting; None: by none.
        self._place: tuple[int, int] | None = None
        self._own: int | None = None

    def write(self, data: bytes) -> int:
        """Write; gives how many bytes were.

        Raises:
            OSError: it cannot be written.
        """
        status = os.fstat(self._descriptor)
        if self._place != (status.st_dev, status.st_ino):
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
        self._place = (status.st_dev, status.st_ino)
        if stat.S_ISREG(status.st_mode):
            # Files never let anybody wait for a reader.
            self._own = self._descriptor
            return
        # Sockets cannot be opened so, nor pipes without a reader; other systems have no such path.
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            self._own = os.open(f"/proc/self/fd/{self._descriptor}", flags)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, waiting where the descriptor is one that does not.

    Raises:
        OSError: it cannot be written.
    """
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            # Somebody with whom we share it made it so.
            select.select([], [descriptor], [])


class _SteadyRaw(io.RawIOBase):
    """A writer as a stream."""

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
        """Nothing: it is the process' own, and others go on writing."""


def steady_stream(writer: SteadyWriter, before: TextIO | None) -> TextIO:
    """A text stream on a writer, encoded as the one `before` it. A character that this cannot have is escaped."""
    encoding = getattr(before, "encoding", None) or "utf-8"
    return io.TextIOWrapper(_SteadyRaw(writer), encoding, errors="backslashreplace", line_buffering=True)  # type: ignore[type-var]


@cache
def make_steady() -> SteadyWriter:
    """Put streams of this kind in the place of `sys.stdout` and `sys.stderr`; gives the writer to standard error.

    Once a process. For those of weft's own: what handlers and libraries print, and what Python itself
    says there, must not hold up or end anything either.
    """
    error = SteadyWriter(2)
    # Where both lead to one place, what is written keeps its order.
    output = error if _same_place(1, 2) else SteadyWriter(1)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    sys.stdout = steady_stream(output, sys.stdout)
    sys.stderr = steady_stream(error, sys.stderr)
    return error


def drain(timeout_s: float = END_TIMEOUT_S) -> None:
    """Let what was written reach its place, before the process ends without telling Python."""
    for writer in list(_writers):
        writer.drain(timeout_s)


def _same_place(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False


def _after_fork() -> None:
    """In the child: what the parent has queued is its own to write, and its threads are not here."""
    for writer in list(_writers):
        writer._reset()


_writers: weakref.WeakSet[SteadyWriter] = weakref.WeakSet()
atexit.register(drain)
os.register_at_fork(after_in_child=_after_fork)
