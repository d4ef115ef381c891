"""The audit in a file: a line of JSON for each event, added at the end, for this process' user alone.

Whoever rotates it moves it away: the next event begins a new file, whose chain goes on from the old one's.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from weft.coordinator.audit.audit_event import NO_DIGEST, Record, line_of, record_of
from weft.rpc import refusals

# The last line is looked for within so much of the file's end.
_TAIL_BYTES = 64 * 1024


class AuditFile:
    """The file. Its methods block, but for `write`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> str:
        """See that it can be written; returns the digest of its last event.

        Raises:
            InvalidArgument: it cannot be written.
        """
        try:
            with self._opened() as handle:
                found = os.fstat(handle)
                if not stat.S_ISREG(found.st_mode) or not found.st_size:
                    return NO_DIGEST
                with self._path.open("rb") as file:
                    file.seek(max(0, found.st_size - _TAIL_BYTES))
                    tail = file.read(_TAIL_BYTES)
                if not tail.endswith(b"\n"):
                    # A process ended while it wrote. What it left stays, as a line of its own.
                    os.write(handle, b"\n")
        except OSError as error:
            raise refusals.invalid_field(
                f"cannot write the audit log {self._path}: {error.strerror}; correct its path or mode",
                field="audit_log",
            ) from None
        return _last_digest(tail)

    async def write(self, records: Sequence[Record]) -> None:
        """
        Raises:
            OSError
        """
        await asyncio.to_thread(self._write, b"".join(line_of(each) + b"\n" for each in records))

    def _write(self, lines: bytes) -> None:
        with self._opened() as handle:
            begin = os.fstat(handle)
            left = memoryview(lines)
            try:
                while left:
                    left = left[os.write(handle, left) :]
                if stat.S_ISREG(begin.st_mode):
                    os.fsync(handle)
            except OSError:
                # The whole batch is written again: half of it must not stay.
                if stat.S_ISREG(begin.st_mode):
                    os.ftruncate(handle, begin.st_size)
                raise

    def _opened(self) -> _Handle:
        return _Handle(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))


class _Handle:
    """An open file, closed at the end of its `with`."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __enter__(self) -> int:
        return self._handle

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)


def _last_digest(tail: bytes) -> str:
    for line in reversed(tail.splitlines()):
        try:
            digest = record_of(line).get("digest")
        except ValueError:
            continue
        if isinstance(digest, str) and len(digest) == len(NO_DIGEST):
            return digest
    return NO_DIGEST
