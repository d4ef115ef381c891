"""The requests of `weft submit --many`: a JSON document a line, read as they are needed, with what was skipped."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from weft.cli.command_line import inputs
from weft.cli.command_line.line_reader import LineTooLong, read_lines
from weft.cli.terminal.failure import Failure, system_reason
from weft.cli.terminal.output import remark

if TYPE_CHECKING:
    from weft.rpc.contracts.contract_reader import ResolvedMethod

# JSON of the largest request, with room for escapes and white space.
_MOST_BYTES = 64 * 1024 * 1024
# Bad lines that are told; more are counted.
_MOST_TOLD = 20
_BOM = b"\xef\xbb\xbf"


class ManyLines:
    """Requests of a file, or of standard input ("-").

    Args:
        skips: a bad line is told and counted; else the first one ends the requests.

    Raises:
        Failure: it cannot be opened.
    """

    def __init__(self, source: str, *, skips: bool) -> None:
        self._skips = skips
        self._name = "standard input" if source == "-" else source
        self._descriptor = self._open(source)
        found = os.fstat(self._descriptor)
        self._size = found.st_size if stat.S_ISREG(found.st_mode) else 0
        self._read = 0
        self.skipped = self.given = 0
        self.at_end = False

    def _open(self, source: str) -> int:
        try:
            if source == "-":
                if sys.stdin is None:
                    raise ValueError("it is closed")
                return sys.stdin.fileno()
            return os.open(source, os.O_RDONLY)
        except (OSError, ValueError) as error:
            raise Failure(f"cannot read {self._name}: {system_reason(error)}", status=2) from None

    @property
    def estimate(self) -> int | None:
        """How many requests there are, by the part of the file that was read. None: not known."""
        if self.at_end:
            return self.given
        if not self._size or not self._read:
            return None
        return max(self.given, round(self.given * self._size / self._read))

    async def requests(self, method: ResolvedMethod) -> AsyncIterator[bytes]:
        """Each request, serialized.

        Raises:
            Failure: the source cannot be read, or a line is bad and the first bad one stops.
        """
        number = 0
        try:
            async for line in read_lines(self._descriptor, _MOST_BYTES, self._count):
                number += 1
                payload = self._payload(method, number, line.removeprefix(_BOM) if number == 1 else line)
                if payload is not None:
                    self.given += 1
                    yield payload
        except LineTooLong as error:
            raise Failure(f"line {number + 1}: {error}", status=2) from None
        except OSError as error:
            raise Failure(f"cannot read {self._name}: {system_reason(error)}", status=2) from None
        self.at_end = True

    def _count(self, size_bytes: int) -> None:
        self._read += size_bytes

    def _payload(self, method: ResolvedMethod, number: int, line: bytes) -> bytes | None:
        """The request of a line; None: it is blank, or bad and skipped."""
        try:
            text = line.decode()
            return inputs.request_bytes(method, text, f"line {number}: ") if text.strip() else None
        except UnicodeDecodeError as error:
            failure = Failure(f"line {number}: byte {error.start + 1} is not UTF-8", status=2)
        except Failure as error:
            failure = error
        if not self._skips:
            raise failure from None
        self.skipped += 1
        if self.skipped <= _MOST_TOLD:
            remark(f"skipped {failure}")
        elif self.skipped == _MOST_TOLD + 1:
            remark("more lines are skipped, and not told")
        return None
