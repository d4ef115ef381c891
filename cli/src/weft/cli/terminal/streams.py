r"""The standard streams of a command.

If standard output cannot be written, the command ends in order: the user asked for results. Text that cannot be written to
standard error is dropped: no result depends on it. A character that the stream's encoding does not have is written as
`\uXXXX`, which in JSON means the same character.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from typing import TextIO

from weft.rpc.process.standard_streams import fill_missing
from weft.rpc.process.steady_output import write_all

# 128 + SIGPIPE: the status of most programs whose output pipe was closed.
NO_READER_STATUS = 141
_ESCAPE = "weft.escape"


class Unwritable(Exception):
    """Standard output cannot be written."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        # The reader has closed the pipe, as `| head` does: not an error.
        self.no_reader = error.errno == errno.EPIPE


def replace_streams() -> None:
    """Replace `sys.stdout` and `sys.stderr`. Call it first in the process."""
    fill_missing()
    codecs.register_error(_ESCAPE, _escaped)
    sys.stdout = _replaced(sys.stdout, 1, strict=True)
    sys.stderr = _replaced(sys.stderr, 2, strict=False)


def as_utf8(argument: str) -> str:
    """Decode a command-line argument as UTF-8, also if the locale is ASCII."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _replaced(stream: TextIO, descriptor: int, *, strict: bool) -> TextIO:
    with contextlib.suppress(Exception):
        stream.flush()
    own = stream.errors in ("strict", "surrogateescape", "backslashreplace", None)
    return io.TextIOWrapper(
        _StandardRaw(descriptor, strict=strict),  # type: ignore[type-var]
        stream.encoding,
        errors=_ESCAPE if own else stream.errors,
        line_buffering=True,
    )


class _StandardRaw(io.RawIOBase):
    """A stream of a descriptor. Strict: a failed write raises Unwritable. Otherwise failed writes are dropped."""

    def __init__(self, descriptor: int, *, strict: bool) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._strict = strict

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        copied = bytes(memoryview(data))  # type: ignore[arg-type]
        try:
            write_all(self._descriptor, copied)
        except OSError as error:
            if self._strict:
                raise Unwritable(error) from None
        return len(copied)

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def close(self) -> None:
        """Do nothing: the descriptor belongs to the process."""


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """The codec error handler: backslash, u and four hex digits for each character that cannot be encoded."""
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    numbers = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(f"\\u{number:04x}" for number in numbers), error.end
