"""The requests of a method that takes a stream of requests: one JSON document a line, each sent as soon as it is read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from weft.cli.command_line import inputs
from weft.cli.terminal.failure import Failure

if TYPE_CHECKING:
    from weft.rpc.contracts.contract_reader import ResolvedMethod

_CHUNK_BYTES = 64 * 1024


class RequestStream:
    """Requests from an argument, a file or standard input, in order. Blank lines are skipped."""

    def __init__(self, method: ResolvedMethod, source: str) -> None:
        if source == "-" and sys.stdin is None:
            raise Failure("cannot read standard input: it is closed", status=2)
        self._method = method
        # Standard input is read line by line: a user may wait for a response before typing the next request.
        self._lines = _stdin_lines() if source == "-" else _lines_of(source)
        # The error of a bad request. If the iterator raises, gRPC cancels the call and does not keep the exception.
        self.failure: Failure | None = None

    async def serialized(self) -> AsyncIterator[bytes]:
        number = 0
        async for text in self._lines:
            number += 1
            if not text.strip():
                continue
            try:
                payload = inputs.request_bytes(self._method, text, f"line {number}: ")
            except Failure as failure:
                self.failure = failure
                raise
            yield payload


async def _lines_of(source: str) -> AsyncIterator[str]:
    for text in inputs.read_text(source).splitlines():
        yield text


async def _stdin_lines() -> AsyncIterator[str]:
    rest = b""
    while chunk := await _stdin_chunk():
        *whole, rest = (rest + chunk).split(b"\n")
        for text in whole:
            yield text.decode(errors="surrogateescape")
    if rest:
        yield rest.decode(errors="surrogateescape")


async def _stdin_chunk() -> bytes:
    """The next bytes of standard input; b"" at its end.

    A daemon thread reads, so that the command can exit while the read still waits: the call may end before the user types the
    next line. It reads the descriptor: a read of `sys.stdin` would hold the lock of Python's buffer, which the exit needs.
    """
    loop = asyncio.get_running_loop()
    chunk: asyncio.Future[bytes] = loop.create_future()

    def take(got: bytes) -> None:
        if not chunk.done():
            chunk.set_result(got)

    def read() -> None:
        try:
            got = os.read(0, _CHUNK_BYTES)
        except OSError:
            got = b""
        # The loop may be closed by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(take, got)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    return await chunk
