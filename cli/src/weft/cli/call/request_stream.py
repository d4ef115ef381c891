"""The requests of a call whose method takes a stream of them: one JSON a line, each sent as soon as it is there."""

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
    """Requests from an argument, a file or standard input, in their order; blank lines are none."""

    def __init__(self, method: ResolvedMethod, source: str) -> None:
        if source == "-" and sys.stdin is None:
            raise Failure("cannot read standard input: it is closed", status=2)
        self._method = method
        # Standard input may be a person, who waits for an answer before the next line.
        self._lines = _stdin_lines() if source == "-" else _lines_of(source)
        # Why they ended before their end. gRPC cancels the call of an iterator that raises, and says nothing.
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
    """What standard input has; b"": it has ended.

    By a thread that nobody waits for at the end, and without Python's own buffer, whose lock it would hold until then: the
    call may be over while somebody still thinks about the next line.
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
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(take, got)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    return await chunk
