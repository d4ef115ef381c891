"""Reads lines of a file, a pipe or standard input one by one, without holding the rest or blocking the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable

_CHUNK_BYTES = 64 * 1024


class LineTooLong(ValueError):
    """A line is longer than the reader holds."""


async def read_chunks(descriptor: int) -> AsyncIterator[bytes]:
    """What can be read of it, as it comes.

    Raises:
        OSError: it cannot be read.
    """
    while chunk := await _chunk(descriptor):
        yield chunk


async def read_lines(
    descriptor: int, most_bytes: int | None = None, read: Callable[[int], None] | None = None
) -> AsyncIterator[bytes]:
    """Each line, without its end.

    Args:
        most_bytes: of one line.
        read: called with the number of bytes of each chunk.

    Raises:
        OSError: it cannot be read.
        LineTooLong: a line has more than `most_bytes`.
    """
    rest = b""
    async for chunk in read_chunks(descriptor):
        if read is not None:
            read(len(chunk))
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
        if most_bytes is not None and len(rest) > most_bytes:
            raise LineTooLong(f"it has more than {most_bytes} bytes")
    if rest:
        yield rest


async def _chunk(descriptor: int) -> bytes:
    """The next bytes; b"" at the end.

    A daemon thread reads, so that the command can exit while the read still waits: a user may not type the next line for long. It
    reads the descriptor: a read of `sys.stdin` would hold the lock of Python's buffer, which the exit needs.
    """
    loop = asyncio.get_running_loop()
    chunk: asyncio.Future[bytes] = loop.create_future()

    def take(got: bytes | OSError) -> None:
        if chunk.done():
            return
        if isinstance(got, OSError):
            chunk.set_exception(got)
        else:
            chunk.set_result(got)

    def read() -> None:
        got: bytes | OSError
        try:
            got = os.read(descriptor, _CHUNK_BYTES)
        except OSError as error:
            got = error
        # The loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(take, got)

    threading.Thread(target=read, name="line-reader", daemon=True).start()
    return await chunk
