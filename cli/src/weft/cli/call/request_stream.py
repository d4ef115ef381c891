"""The requests of a method that takes a stream of requests: one JSON document a line, each sent as soon as it is read."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from weft.cli.command_line import inputs
from weft.cli.command_line.line_reader import read_lines
from weft.cli.terminal.failure import Failure

if TYPE_CHECKING:
    from weft.rpc.contracts.contract_reader import ResolvedMethod


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
    # A terminal that has gone is the end.
    with contextlib.suppress(OSError):
        async for text in read_lines(0):
            yield text.decode(errors="surrogateescape")
