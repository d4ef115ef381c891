"""A named pipe that is full when the test wants it: a log whose reader does not read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class Pipe:
    """A pipe that processes write to by its name; the test has the end that is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self._read = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def fill(self) -> None:
        """Leave no room."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(descriptor, b"x" * 4096)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(descriptor, b"x")
        os.close(descriptor)

    def read(self) -> bytes:
        """What is there now."""
        try:
            return os.read(self._read, 1 << 20)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Go away: who writes gets EPIPE."""
        os.close(self._read)
